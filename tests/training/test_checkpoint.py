import copy
import hashlib
import io
import os
import random
import tracemalloc
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from pixelrnn import InputError
from pixelrnn.data import DataConfig
from pixelrnn.training import fit as fit_module
from pixelrnn.training.checkpoint import CheckedCheckpoints, averaged_weights, check, read
from pixelrnn.training.fit import fit
from pixelrnn.training.recipe import ModelConfig, Recipe, TrainConfig, read_recipe
from tests.training.kills import flat
from tests.training.runs import recipe, watched


class DiskFull:
    """An object whose writing fails, as on a full disk."""

    def __reduce__(self) -> tuple[object, ...]:
        raise OSError(28, os.strerror(28))


def test_a_checkpoint_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    CheckedCheckpoints().save_checkpoint({"step": torch.tensor(1)}, path)
    with pytest.raises(OSError, match="No space left"):
        CheckedCheckpoints().save_checkpoint({"step": torch.tensor(2), "more": DiskFull()}, path)
    assert torch.load(path)["step"] == read(path)["step"] == 1
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_no_flipped_bit_is_read(tmp_path: Path, images: DataConfig) -> None:
    run = tmp_path / "run"
    fit(recipe(images, epochs=1), run)
    for name in ("last.ckpt", "best.ckpt"):
        path = run / "checkpoints" / name
        whole = path.read_bytes()
        trailer = range(8 * (len(whole) - 64), 8 * len(whole), 16)
        for bit in [*trailer, *random.Random(0).sample(range(8 * len(whole)), 300)]:
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            with pytest.raises(InputError, match=rf"{name} is damaged, .*: its checksum does not match"):
                averaged_weights(path)
        with pytest.raises(InputError, match=rf"{name} is damaged"):
            fit(recipe(images), run, resume=True)
        path.write_bytes(whole)
    fit(recipe(images), run, resume=True)


def test_no_flipped_bit_of_a_recipe_is_taken_for_the_runs_own(tmp_path: Path, images: DataConfig) -> None:
    run = tmp_path / "run"
    fit(recipe(images, epochs=1), run)
    config = run / "config.yaml"
    whole = config.read_bytes()
    for before, after in (
        (b"learning_rate: 0.01", b"learning_rate: 0.03"),
        (b"batch: 8", b"batch: 9"),
        (b"warmup: 3", b"warmup: 2"),
        (b"dropout: 0.2", b"dropout: 0.3"),
        (b"clip: 1.0", b"clip: 3.0"),
    ):
        config.write_bytes(whole.replace(before, after))
        assert config.read_bytes() != whole
        with pytest.raises(InputError, match=r"the run in .* has .*, got .*: it resumes with its own recipe"):
            fit(changed(config, epochs=2), run, resume=True)
    config.write_bytes(whole)
    moved = tmp_path / "moved.npz"
    Path(str(images.path)).rename(moved)
    config.write_bytes(whole.replace(str(images.path).encode(), str(moved).encode()))
    fit(changed(config, epochs=2), run, resume=True)


def changed(config: Path, **train: Any) -> Recipe:
    """The recipe of a run, as the command line reads it."""
    model, data, own = read_recipe(config).values()
    return Recipe(
        model=ModelConfig(**model | {"factors": tuple(model["factors"])}),
        data=DataConfig(**data | {"splits": tuple(data["splits"])}),
        train=TrainConfig(**own | train),
    )


def test_a_large_file_of_nothing_takes_no_memory(tmp_path: Path) -> None:
    with (tmp_path / "last.ckpt").open("wb") as file:
        file.truncate(2 * 10**8)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"last\.ckpt is damaged"):
        read(tmp_path / "last.ckpt")
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_a_checkpoint_without_a_checksum_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"text", b"x" * 64):
        (tmp_path / "last.ckpt").write_bytes(data)
        with pytest.raises(InputError, match=r"last\.ckpt is damaged"):
            read(tmp_path / "last.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=r"last\.ckpt is damaged"):
        read(tmp_path / "last.ckpt")


def places(node: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all values in nested dictionaries and lists, as sequences of keys."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place, *(deeper for key, child in children for deeper in places(child, (*place, key)))]


def leave_out(holder: Any, key: Any) -> None:
    del holder[key]


def add(holder: Any, key: Any) -> None:
    holder.append(0) if isinstance(holder, list) else holder.update({"more": 0})


def change_type(holder: Any, key: Any) -> None:
    holder[key] = {"more": 0}


def empty(holder: Any, key: Any) -> None:
    holder[key] = torch.zeros(0) if isinstance(holder[key], torch.Tensor) else []


def reshape(holder: Any, key: Any) -> None:
    holder[key] = holder[key][..., None] if isinstance(holder[key], torch.Tensor) else [holder[key]]


def spoil(holder: Any, key: Any) -> None:
    holder[key] = torch.full_like(holder[key], -1) / 0 if isinstance(holder[key], torch.Tensor) else -1


class Crash(pl.Callback):
    """Ends a run before the last batch of its first epoch, after its state was saved."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_step == 4:
            raise RuntimeError("crash")


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "soap"])
@pytest.mark.parametrize("within", [False, True])
def test_a_checkpoint_of_another_structure_is_refused(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch, optimizer: str, within: bool
) -> None:
    run, r = tmp_path / "run", recipe(images, epochs=1, optimizer=optimizer)
    with monkeypatch.context() as patched, pytest.raises(RuntimeError) if within else nullcontext():
        watched(patched, [], [Crash()] if within else [])
        fit(r, run)
    last, longer = run / "checkpoints" / "last.ckpt", replace(r, train=replace(r.train, epochs=2))
    state, chance, checking = read(last), random.Random(0), list[Callable[[], object]]()
    assert ("combined_loader" in state["loops"]["fit_loop"]["state_dict"]) == within

    def noted(*given: Any, **how: Any) -> None:
        checking.append(partial(check, *given, **how))
        raise InputError("noted")

    resume = partial(fit, longer, run, resume=True)
    with monkeypatch.context() as patched:
        patched.setattr(fit_module, "check", noted)
        with pytest.raises(InputError, match="noted"):
            resume()
    for change in (leave_out, add, change_type, empty, reshape, spoil):
        for n, (*place, key) in enumerate(chance.sample(places(state)[1:], 12)):
            other = copy.deepcopy(state)
            holder = other
            for name in place:
                holder = holder[name]
            change(holder, key)
            if flat(other) == flat(state):
                continue
            CheckedCheckpoints().save_checkpoint(other, last)
            # Most checks do without a trainer of their own. A run reads the states of callbacks before its check.
            refuse = resume if n == 0 or "callbacks" in (*place, key)[:1] else checking[0]
            with pytest.raises(InputError, match=r"^\S*/last\.ckpt [^\n]*$"):
                refuse()


def test_a_checkpoint_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    others: list[Any] = [None, [], torch.zeros(3), "text", {}, {"state_dict": None}, {"state_dict": {0: 1}}, DiskFull]
    for other in others:
        buffer = io.BytesIO()
        torch.save(other, buffer)
        path.write_bytes(buffer.getvalue() + hashlib.sha256(buffer.getvalue()).hexdigest().encode())
        with pytest.raises(InputError, match=rf"^{path} is not a checkpoint of a run: "):
            averaged_weights(path)
