"""Training with `train.compile`. Most tests run in other processes, because the compiler refuses our shape checks."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pixelrnn.data import DataConfig
from pixelrnn.models import ImageModel
from pixelrnn.training import compiled
from pixelrnn.training.batches import Part
from pixelrnn.training.fit import fit
from pixelrnn.training.recipe import Recipe
from tests.ranks import Ended, on_ranks
from tests.training.runs import recipe, rows, weights
from tests.training.test_together import Stop, close, trained


class Replayed(torch.autograd.Function):
    """Computes as a CUDA graph does: the loss and the gradients lie in memory that the next call overwrites."""

    @staticmethod
    def forward(ctx: Any, memory: list[Tensor], loss: Callable[[], Tensor], *leaves: Tensor) -> Tensor:
        for own in memory:
            own.fill_(torch.nan)
        with torch.enable_grad():
            value = loss()
        found = [value.detach(), *torch.autograd.grad(value, leaves)]
        if not memory:
            memory += [torch.empty_like(each) for each in found]
        memory[0].copy_(found[0])
        ctx.memory, ctx.gradients = memory, found[1:]
        return memory[0].detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        for own, each in zip(ctx.memory[1:], ctx.gradients, strict=True):
            own.copy_(each * gradient)
        return None, None, *(own.detach() for own in ctx.memory[1:])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of compiled code that no other program has filled."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces the compiled function by one with the memory of a CUDA graph. Returns the batches that it gets."""
    seen, memory = list[int](), list[Tensor]()

    def replayed(model: ImageModel, scale: int | None, turned: Tensor, given: dict[str, Any]) -> Tensor:
        seen.append(len(turned))
        loss = lambda: compiled._nats(model, scale, turned, given)  # noqa: E731
        computed: Any = Replayed
        return computed.apply(memory, loss, *model.parameters())

    monkeypatch.setattr(compiled, "_compiled", lambda is_cuda: replayed)
    return seen


@pytest.mark.parametrize(("batch", "accumulate"), [(8, 1), (8, 2), (10, 1), (13, 3), (16, 2)])
def test_memory_of_a_cuda_graph_is_not_read_after_the_next_step(
    tmp_path: Path, images: DataConfig, sizes: list[int], batch: int, accumulate: int
) -> None:
    r = recipe(images, batch=batch, accumulate=accumulate)
    for name, is_compiled in (("without", False), ("with", True)):
        fit(replace(r, train=replace(r.train, compile=is_compiled)), tmp_path / name)
    assert sizes == [batch] * (40 // batch) * 2  # neither the small last batch of an epoch, nor validation
    close(*(weights(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("without", "with")))
    assert [row["train_nats"] for row in rows(tmp_path / "with")] == pytest.approx(
        [row["train_nats"] for row in rows(tmp_path / "without")]
    )


def test_the_options_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **options: options)
    own = {"fullgraph": True, "dynamic": False}
    assert compiled._compiled.__wrapped__(False) == {**own, "mode": None}
    assert compiled._compiled.__wrapped__(True) == {**own, "mode": "reduce-overhead"}


def checked(cache: Path, work: Callable[..., Any], *args: Any, **how: Any) -> Any:
    """Calls a function. A second compilation of the loss is an error."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
    torch._dynamo.config.error_on_recompile = True
    return work(*args, **how)


def resumed(cache: Path, r: Recipe, run: Path) -> Any:
    return checked(cache, trained, r, run, resume=True)


def stopped(cache: Path, r: Recipe, run: Path) -> Any:
    return checked(cache, trained, r, run, stop=Stop(7, 0, signal.SIGTERM))


def told(ended: list[Ended]) -> list[tuple[str, str]]:
    """The errors of all ranks, and what they wrote to standard error but for signs of life."""
    lines = [[line for line in each.err.splitlines() if not line.startswith("epoch ")] for each in ended]
    return [(each.error, "\n".join(own)) for each, own in zip(ended, lines, strict=True)]


@pytest.mark.slow  # four trainings that compile, in processes of their own
@pytest.mark.timeout(400)
def test_a_resumed_run_ends_bit_by_bit_as_one_never_stopped(tmp_path: Path, images: DataConfig, cache: Path) -> None:
    r = recipe(images, compile=True)  # with dropout, validation and a moving average
    run, whole, eager = tmp_path / "run", tmp_path / "whole", tmp_path / "eager"
    assert told(on_ranks(1, checked, cache, trained, r, whole)) == [("", "")]
    (error, _), *_ = told(on_ranks(1, stopped, cache, r, run))
    assert error == "Stopped: stopped by SIGTERM; the run was saved and can be resumed"
    assert told(on_ranks(1, resumed, cache, r, run)) == [("", "")]
    assert rows(run) == rows(whole)
    for name in ("last.ckpt", "best.ckpt"):
        pairs = zip(*(weights(path / "checkpoints" / name) for path in (run, whole)), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    fit(replace(r, train=replace(r.train, compile=False)), eager)  # on a CPU the compiler keeps the noise of dropout
    close(*(weights(path / "checkpoints" / "last.ckpt") for path in (eager, whole)))


@pytest.mark.slow  # two processes that compile
@pytest.mark.timeout(400)
def test_the_weights_do_not_depend_on_the_number_of_processes(tmp_path: Path, images: DataConfig, cache: Path) -> None:
    r = recipe(images, batch=13, compile=True, scale=1)  # parts of 6 and 7 images; weights without gradients
    r = replace(r, model=replace(r.model, layer="pixel-cnn", dropout=0.4, factors=(2,)))
    assert told(on_ranks(2, checked, cache, trained, r, tmp_path / "two")) == [("", "")] * 2
    fit(replace(r, train=replace(r.train, compile=False)), tmp_path / "one")
    close(*(weights(tmp_path / run / "checkpoints" / "last.ckpt") for run in ("one", "two")))


def equal_to_eager() -> None:
    """Compares loss and gradients of models of all kinds."""
    from pixelrnn import MultiScalePixelRNN, PixelRNN
    from pixelrnn.models import pixel_rnn
    from pixelrnn.training.module import LikelihoodTraining
    from pixelrnn.training.recipe import TrainConfig

    pixel_rnn.MOST_LOGITS = 200  # logits in chunks of rows
    torch.manual_seed(0)
    x, labels, order = torch.randint(4, (4, 1, 4, 4)), torch.arange(4) % 2, torch.arange(4) + 2
    small: dict[str, Any] = {"levels": 4, "hidden": 2}
    cases: list[tuple[Any, int | None, bool]] = [
        (PixelRNN(layer="row-lstm", orders=8, classes=["a", "b"], **small), None, False),
        (PixelRNN(layer="diagonal-bilstm", **small), None, True),
        (MultiScalePixelRNN(factors=(2,), layer="pixel-cnn", orders=8, **small), 0, False),
    ]
    for model, scale, is_rounded in cases:
        torch.compiler.reset()
        batch = Part(x.byte(), labels if model.classes else None, first=0, total=4)
        found = []
        for is_compiled in (False, True):
            own = LikelihoodTraining(model, TrainConfig(batch=4, scale=scale, compile=is_compiled))
            model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=is_rounded):
                nats = own.nats(batch, order if model.orders > 1 else 0)
            nats.backward()
            found.append([nats.detach(), *(weight.grad for weight in model.parameters() if weight.grad is not None)])
        for a, b in zip(*found, strict=True):
            assert (a - b).norm() <= (2e-2 if is_rounded else 1e-4) * a.norm(), (type(model), scale)


@pytest.mark.slow  # compiles three models
@pytest.mark.timeout(400)
def test_loss_and_gradients_are_those_without_the_compiler(cache: Path) -> None:
    assert told(on_ranks(1, checked, cache, equal_to_eager)) == [("", "")]


@pytest.mark.slow  # a process of the command
@pytest.mark.parametrize("compiler", ["no-such-compiler", "broken"])
def test_a_compiler_that_is_missing_or_fails_is_one_line(tmp_path: Path, compiler: str) -> None:
    broken = tmp_path / "broken"  # tells its version, and compiles nothing
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] || { echo "x.cpp:1: error: no header" >&2; exit 1; }; echo 12\n')
    broken.chmod(0o755)
    cxx = str(broken) if compiler == "broken" else compiler
    environment = {**os.environ, "CXX": cxx, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "pixelrnn", "train", "digits", "--run", str(tmp_path / "run")]
    command += ["--train.epochs", "1", "--model.hidden", "2"]
    how: dict[str, Any] = {"env": environment, "capture_output": True, "text": True}
    done = subprocess.run([*command, "--train.compile"], check=False, **how)
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last.startswith("pixelrnn: --train.compile failed: "), done.stderr
    assert last.endswith(": leave --train.compile out to train without it")
    assert "Traceback" not in done.stderr
    assert ("no header" if compiler == "broken" else "no-such-compiler") in last
    # The folder still counts as new.
    subprocess.run(command, check=True, **how)
