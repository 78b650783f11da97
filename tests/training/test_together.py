"""Several processes that train one model."""

import json
import os
import re
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from pixelrnn.data import DataConfig, Images
from pixelrnn.processes import launched
from pixelrnn.training.fit import fit
from pixelrnn.training.recipe import Recipe
from tests.ranks import Ended, on_ranks
from tests.training.kills import contents
from tests.training.runs import recipe, rows, watched, weights


class Stop(pl.Callback):
    """Sends a signal to one rank at the end of a batch."""

    def __init__(self, step: int, rank: int, signum: int) -> None:
        self.step, self.rank, self.signum = step, rank, signum

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        if (trainer.global_step, launched().rank) == (self.step, self.rank):
            signal.raise_signal(self.signum)


def trained(r: Recipe, run: Path, *, stop: Stop | None = None, seen: Path | None = None, **how: Any) -> Any:
    """Trains on this rank. Notes the images that it reads in a file of its own, and returns the weights."""
    read: list[list[int]] = []
    getting = Images.__getitems__

    def spy(self: Images, indices: list[int]) -> Any:
        if len(self) == 40:
            read.append([*indices])
        return getting(self, indices)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Images, "__getitems__", spy)
        if stop is not None:
            watched(patched, [stop], [])
        try:
            model = fit(r, run, **how)
        finally:
            if seen is not None:
                (seen / f"{os.getpid()}.json").write_text(json.dumps(read))
    return [weight.detach().numpy() for weight in model.parameters()]


def values(ended: list[Ended]) -> list[Any]:
    assert [each.error for each in ended] == [""] * len(ended)
    return [each.value for each in ended]


def close(a: list[torch.Tensor], b: list[torch.Tensor]) -> None:
    for x, y in zip(a, b, strict=True):
        assert (x - y).norm() <= 1e-5 * x.norm()


@pytest.mark.slow  # seven processes
@pytest.mark.parametrize("layer", ["diagonal-bilstm", "pixel-cnn"])
def test_the_weights_do_not_depend_on_the_number_of_processes(tmp_path: Path, images: DataConfig, layer: Any) -> None:
    # Batches of 13, 13, 13 and 1: of four processes, three have no image of the last one.
    r = recipe(images, batch=13, sample_every=1)
    r = replace(r, model=replace(r.model, layer=layer, dropout=0.4, orders=8))
    for size in (1, 2, 4):
        run = tmp_path / str(size)
        ended = on_ranks(size, trained, r, run)
        exported = values(ended)
        assert all(np.array_equal(a, b) for other in exported for a, b in zip(exported[0], other, strict=True))
        assert [each.out.count("epoch ") for each in ended] == [2] + [0] * (size - 1)
        assert [each.err for each in ended] == [""] * size
        assert (run / "samples" / "epoch-0002.png").is_file()
        for name in ("last.ckpt", "best.ckpt"):
            close(weights(tmp_path / "1" / "checkpoints" / name), weights(run / "checkpoints" / name))
        for one, several in zip(rows(tmp_path / "1"), rows(run), strict=True):
            assert [float(v) for v in several.values()] == pytest.approx([float(v) for v in one.values()], rel=1e-5)


@pytest.mark.slow  # six processes
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 2)])
def test_another_number_of_processes_goes_on_with_the_next_image(
    tmp_path: Path, images: DataConfig, before: int, after: int
) -> None:
    r, run = recipe(images), tmp_path / "run"
    (tmp_path / "seen").mkdir()
    ended = on_ranks(before, _stopped, r, run, tmp_path / "seen", 7)  # two of the five batches of the second epoch
    assert {each.error for each in ended} == {"Stopped: stopped by SIGTERM; the run was saved and can be resumed"}
    values(on_ranks(after, _resumed, r, run, tmp_path / "seen"))
    read = [batch for file in (tmp_path / "seen").iterdir() for batch in json.loads(file.read_text())]
    counts = Counter(index for batch in read for index in batch)
    assert counts == dict.fromkeys(range(40), 2)
    assert [row["step"] for row in rows(run)] == ["5", "10"]
    whole = tmp_path / "whole"
    values(on_ranks(before, trained, r, whole))
    last = [weights(path / "checkpoints" / "last.ckpt") for path in (whole, run)]
    close(*last)
    if before == after:
        assert contents(run) == contents(whole)


def _stopped(r: Recipe, run: Path, seen: Path, step: int) -> None:
    trained(r, run, seen=seen, stop=Stop(step, launched().size - 1, signal.SIGTERM))


def _resumed(r: Recipe, run: Path, seen: Path) -> None:
    trained(r, run, seen=seen, resume=True)


def _with_other_images(r: Recipe, run: Path, folder: Path) -> None:
    if launched().rank == 1:
        np.savez(folder / "b.npz", train=np.zeros((40, 4, 3), np.uint8), valid=np.zeros((9, 4, 3), np.uint8))
        r = replace(r, data=replace(r.data, path=str(folder / "b.npz")))
    fit(r, run)


def _with_broken_weights(r: Recipe, run: Path) -> None:
    class Spoil(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any, **__: Any) -> None:
            if trainer.global_step == 2 and launched().rank == 1:
                next(pl_module.parameters()).data.fill_(torch.nan)

    with pytest.MonkeyPatch.context() as patched:
        watched(patched, [Spoil()], [])
        fit(r, run)


@pytest.mark.slow  # eight processes
def test_an_error_of_one_process_is_that_of_all(tmp_path: Path, images: DataConfig) -> None:
    run = tmp_path / "run"
    for work, args, message in (
        (_with_other_images, (tmp_path,), "the processes read different images or run different versions: give all"),
        (_with_broken_weights, (), "the loss is nan at step 2: lower train.learning_rate or train.clip"),
        (fit, (), "the run folder .* is not empty: choose another"),
    ):
        if work is fit:
            (tmp_path / "run" / "notes.txt").write_text("mine")
        ended = on_ranks(2, work, recipe(images), run, *args)
        assert all(re.match(f"InputError: {message}", each.error) for each in ended), ended
        assert sorted(each.told for each in ended) == [False, True]
