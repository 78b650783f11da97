"""A run is a folder.

config.yaml         the complete recipe
metrics.csv         a row per epoch
tensorboard/        the same curves, and the sample grids
samples/            grids of samples, one every few epochs
checkpoints/        last.ckpt, from which the run resumes, and best.ckpt, the best by validation
model/              the best model, as `pixelrnn.models.from_pretrained` reads it
.lock               locked while a process trains in the folder
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from pixelrnn.errors import InputError, input_error
from pixelrnn.files import replacing, temporaries
from pixelrnn.training.checkpoint import read
from pixelrnn.training.recipe import Recipe, read_recipe

# These options may change when a run resumes. With any other change, no recipe would describe the run.
CHANGEABLE = {
    ("data", "path"),
    *(("train", name) for name in ("epochs", "patience", "device", "sample_every", "logger")),
}


class RunFolder:
    """The paths in a run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.csv"
        self.tensorboard = path / "tensorboard"
        self.logs = path / "logs"
        self.samples = path / "samples"
        self.first_samples = self.samples / "epoch-0001.png"
        self.last = path / "checkpoints" / "last.ckpt"
        self.best = path / "checkpoints" / "best.ckpt"
        self.model = path / "model"
        self.lock = path / ".lock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from training in the folder. The system drops the lock of a process that is killed.

        Raises InputError if another process trains in it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(self.lock, timeout=0).acquire()
        except Timeout as error:
            raise InputError(f"another process trains in {self.path}: wait for it, or choose another folder") from error
        with lock:
            yield

    def check(self, *, resume: bool) -> None:
        """Raises InputError unless a run can start, or resume, in the folder."""
        if resume and not self.last.is_file():
            raise InputError(f"no run to resume in {self.path}: {self.last.relative_to(self.path)} is missing")
        if not resume and not self._is_new():
            or_resume = ", or resume the run in it" if self.last.is_file() else ""
            raise InputError(f"the run folder {self.path} is not empty: choose another{or_resume}")

    def _is_new(self) -> bool:
        """True if the folder is empty, or holds only the files of a run that ended before its first checkpoint."""
        left = {self.lock, *self._temporaries()}
        if self._wrote_config():
            left |= {self.config, self.tensorboard, self.logs, self.samples, self.last.parent, self.first_samples}
            if self.metrics.is_file() and self.metrics.read_bytes().count(b"\n") <= 2:  # one unsaved epoch at most
                left.add(self.metrics)
        entries = [*self.path.iterdir()] if self.path.exists() else []
        return left.issuperset([*entries, *self.samples.glob("*"), *self.last.parent.glob("*")])

    def _wrote_config(self) -> bool:
        """Whether config.yaml is as `write_config` writes it: complete, in its layout, without comments."""
        if not self.config.is_file():
            return False
        with suppress(InputError):
            recorded = read_recipe(self.config)
            # A recipe whose images came as tensors has no section of the data.
            whole = {name: [*part] for name, part in plain(Recipe()).items() if name in {*recorded, "model", "train"}}
            is_whole = {name: [*part] for name, part in recorded.items()} == whole
            return is_whole and self.config.read_bytes() == _as_yaml(recorded).encode()
        return False

    def _temporaries(self) -> list[Path]:
        written = (self.config, self.metrics, self.last, self.best, self.samples / "epoch-*.png", self.model / "*")
        return [beside for path in written for beside in temporaries(path)]

    def clear(self, *, resume: bool) -> None:
        """Removes the temporary files of a killed process and, unless the run resumes, its first epoch."""
        for beside in self._temporaries():
            shutil.rmtree(beside)
        if not resume:
            self.metrics.unlink(missing_ok=True)
            self.first_samples.unlink(missing_ok=True)

    def write_config(self, recipe: Recipe, *, has_source: bool = True) -> None:
        """Records the recipe, without its data if the images came as tensors."""
        recorded = plain(recipe)
        if not has_source:
            del recorded["data"]
        with replacing(self.config) as temporary:
            temporary.write_bytes(_as_yaml(recorded).encode())

    def check_recipe(self, recipe: Recipe) -> None:
        """Raises InputError where a recipe is not that of the last checkpoint, but for what may change on resuming."""
        recorded = self._recorded("recipe")
        defaults = plain(Recipe())  # a run of an earlier version lacks the options that came later
        for section, values in plain(recipe).items():
            for key, value in values.items():
                before = {**defaults[section], **recorded.get(section, {})}[key]
                if value != before and (section, key) not in CHANGEABLE:
                    own = f"the run in {self.path} has {section}.{key} {before}, got {value}"
                    way = "choose another run folder"
                    if section == "train" and key not in ("scale", "start"):  # the weights fit the new run
                        way = f"start a new run from its weights with train.start {self.path}"
                    raise InputError(f"{own}: it resumes with its own recipe; to change it, {way}")

    def check_origin(self, origin: dict[str, str]) -> None:
        """Raises InputError if the last checkpoint has another `pixelrnn.training.origin`."""
        recorded = self._recorded("origin")
        for what, value in origin.items():
            if value != (before := recorded.get(what, "nothing")):
                own = f"the run in {self.path} has {what} {before}, got {value}"
                raise InputError(f"{own}: restore them, or force the run to resume all the same")

    def _recorded(self, what: str) -> dict[str, Any]:
        """Reads ``recipe`` or ``origin`` from the last checkpoint."""
        with input_error(f"{self.last} is not a checkpoint of a run", Exception):  # it may hold anything
            recorded = json.loads(read(self.last)["callbacks"]["Checkpoints"][what])
            return {key: recorded[key] for key in recorded}


def _as_yaml(recipe: dict[str, dict[str, Any]]) -> str:
    text: str = yaml.safe_dump(recipe, sort_keys=False)
    return text


def plain(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """A recipe as YAML has it: without tuples."""
    plain: dict[str, dict[str, Any]] = json.loads(json.dumps(asdict(recipe)))
    return plain
