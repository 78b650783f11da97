import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pixelrnn import InputError, PixelRNN
from pixelrnn.data import DataConfig
from pixelrnn.training.fit import fit
from pixelrnn.training.recipe import Recipe
from pixelrnn.training.run_folder import RunFolder, plain
from tests.training.runs import recipe

HOLD = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_recipe_is_recorded_whole(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.write_config(Recipe(data=DataConfig(source="folder", path="photos", size=(3, 4))))
    recorded = yaml.safe_load(run.config.read_text())
    assert recorded["data"]["size"] == [3, 4]
    assert recorded["data"]["key"] is None
    assert set(recorded["train"]) == set(Recipe().train.__slots__)


def test_a_run_of_an_earlier_version_may_lack_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = plain(Recipe())
    del old["data"]["flip"]
    state = {"callbacks": {"Checkpoints": {"recipe": json.dumps(old)}}}
    monkeypatch.setattr("pixelrnn.training.run_folder.read", lambda path: state)
    run = RunFolder(tmp_path)
    run.check_recipe(Recipe())
    with pytest.raises(InputError, match=r"has data\.flip False, got True"):
        run.check_recipe(Recipe(data=DataConfig(flip=True)))


def test_one_process_trains_in_a_folder(tmp_path: Path, images: DataConfig) -> None:
    run = tmp_path / "run"
    fit(recipe(images, epochs=1), run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    (tmp_path / "new").mkdir()
    for folder, resume in ((run, True), (tmp_path / "new", False)):
        command = [sys.executable, "-c", HOLD, str(folder / ".lock")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
            try:
                assert other.stdout is not None
                assert other.stdout.readline() == b"held\n"
                with pytest.raises(InputError, match=f"^another process trains in {folder}: wait for it, or choose"):
                    fit(recipe(images), folder, resume=resume)
                PixelRNN.from_pretrained(run)  # reading needs no lock
            finally:
                other.kill()
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
        fit(recipe(images), folder, resume=resume)  # the lock of a process that was killed
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def leave_temporary(path: Path) -> None:
    """Does what a process does that is killed while it writes this file."""
    beside = path.parent / f".{path.name}-abcd_123"
    beside.mkdir(parents=True)
    (beside / path.name).touch()


def test_temporary_files_of_a_killed_process_are_removed(tmp_path: Path, images: DataConfig) -> None:
    run = RunFolder(tmp_path / "run")
    leave_temporary(run.config)
    (run.path / ".config.yaml-abcd_123" / "config.yaml").unlink()  # killed as it removed them
    fit(recipe(images, epochs=1), run.path)
    for path in (run.last, run.best, run.metrics, run.first_samples, run.model / "model.safetensors"):
        leave_temporary(path)
    fit(recipe(images, epochs=1), run.path, resume=True)
    assert [path.name for path in run.path.rglob(".*")] == [".lock"]


def test_a_recipe_that_somebody_wrote_is_not_replaced(tmp_path: Path, images: DataConfig) -> None:
    run = RunFolder(tmp_path / "run")
    run.write_config(recipe(images))
    run.check(resume=False)
    ours = run.config.read_text()
    for text in (
        f"# mine\n{ours}",
        "model: {hidden: 2}\ndata:\ntrain: {epochs: 1}\n",
        ours.replace("  batch: 8\n", ""),
        "site: mine\n",
        "[",
    ):
        run.config.write_text(text)
        with pytest.raises(InputError, match=r"is not empty: choose another$"):
            fit(recipe(images), run.path)
        assert run.config.read_text() == text


def test_what_only_looks_like_a_temporary_file_is_kept(tmp_path: Path, images: DataConfig) -> None:
    leave_temporary(tmp_path / "mine" / "config.yaml")
    mine = tmp_path / "mine" / ".config.yaml-abcd_123" / "notes.txt"
    mine.touch()
    with pytest.raises(InputError, match=r"is not empty: choose another$"):
        fit(recipe(images), tmp_path / "mine")
    assert mine.exists()
    assert not (tmp_path / "mine" / ".lock").exists()
