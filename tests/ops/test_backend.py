"""The choice of the backend."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pixelrnn import InputError, PixelRNN, ops
from pixelrnn.nn import LayerKind
from pixelrnn.ops import Backend, backend, choose, cpu


def test_the_compiled_library_takes_what_it_can_compute() -> None:
    assert choose(torch.zeros(1))[0] == "cpu"
    assert choose(torch.zeros(1, dtype=torch.double))[0] == "cpu"
    assert choose(torch.zeros(1, dtype=torch.bfloat16))[0] != "cpu"
    assert choose(torch.zeros(1, device="meta"))[0] != "cpu"
    assert choose(torch.zeros(1, device="meta"))[0] != "cpu"


def test_one_that_is_named_is_taken_and_given_back() -> None:
    with backend("reference"):
        assert choose(torch.zeros(1))[0] != "cpu"
        with backend("cpu"):
            assert choose(torch.zeros(1))[0] == "cpu"
        assert choose(torch.zeros(1))[0] != "cpu"
    assert choose(torch.zeros(1))[0] == "cpu"


def test_blocks_may_end_in_any_order() -> None:
    first, second = backend("reference"), backend("manual")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert choose(torch.zeros(1))[0] != "cpu"
    second.__exit__(None, None, None)
    assert choose(torch.zeros(1))[0] == "cpu"


@pytest.mark.parametrize("layer", ["row-lstm", "pixel-cnn"])
@pytest.mark.parametrize("name", ["auto", "reference", "manual", "cpu"])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_whole_model_under_autocast(layer: LayerKind, name: Backend, batch: int) -> None:
    model = PixelRNN(layer=layer, levels=2, hidden=4)
    x = torch.randint(2, (batch, 1, 4, 4), dtype=torch.uint8)
    with backend(name):
        exact = model(x)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(x).float()
    assert (rounded - exact).abs().max() > 1e-4
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)


def test_a_whole_model_on_meta() -> None:
    with torch.device("meta"):
        model = PixelRNN(levels=256, hidden=4)
        assert model(torch.zeros(2, 1, 4, 5, dtype=torch.uint8)).shape == (2, 256, 1, 4, 5)


@pytest.mark.parametrize("layer", ["diagonal-bilstm", "pixel-cnn"])
def test_an_ensemble_under_vmap(layer: LayerKind) -> None:
    models = [PixelRNN(layer=layer, levels=2, hidden=2) for _ in range(2)]
    parameters, buffers = torch.func.stack_module_state(models)
    x = torch.rand(2, 1, 3, 3)

    def logits(p: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(Logits(models[0]), ({f"model.{k}": v for k, v in (p | b).items()},), (x,))

    together = torch.func.vmap(logits)(parameters, buffers)
    torch.testing.assert_close(together, torch.stack([model.logits(x) for model in models]))


class Logits(nn.Module):
    def __init__(self, model: PixelRNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.logits(x)


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "available", False)
    monkeypatch.setattr(cpu, "variant", "it was not compiled during the installation of pixelrnn")
    cpu.say_what_is_missing.cache_clear()


@pytest.mark.usefixtures("no_library")
def test_without_the_library_everything_works_and_says_once_that_it_is_slower(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, x = PixelRNN(levels=2, hidden=3).double(), torch.randint(2, (2, 1, 4, 3), dtype=torch.uint8)
    with caplog.at_level(logging.WARNING):
        scores = model.log_prob(x)
        scores.sum().backward()
        drawn = model.sample(2, height=3, width=3, generator=torch.Generator().manual_seed(0))
    assert [record.name for record in caplog.records] == ["pixelrnn"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "available", True)
        torch.testing.assert_close(model.log_prob(x), scores, rtol=0, atol=1e-10)
        assert torch.equal(model.sample(2, height=3, width=3, generator=torch.Generator().manual_seed(0)), drawn)


@pytest.mark.usefixtures("no_library")
def test_without_the_library_small_work_takes_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = PixelRNN(levels=2, hidden=3), list[tuple[str, int]]()

    def recording(name: str) -> Any:
        compute = getattr(torch, name)

        def recorded(*args: Any, **options: Any) -> Any:
            seen.append((name, torch.get_num_threads()))
            return compute(*args, **options)

        return recorded

    monkeypatch.setattr(torch, "bmm", recording("bmm"))  # the recurrence in training calls it
    monkeypatch.setattr(torch, "clamp", recording("clamp"))  # the sampler calls it
    torch.set_num_threads(2)
    try:
        model.log_prob(torch.zeros(2, 1, 4, 4, dtype=torch.uint8)).sum().backward()
        model.sample(1, height=2, width=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert set(seen) == {("bmm", 1), ("clamp", 1)}


@pytest.mark.usefixtures("no_library")
def test_one_that_is_named_and_cannot_run_is_an_error() -> None:
    with pytest.raises(InputError, match="the backend cpu is not available: it was not compiled"), backend("cpu"):
        pass


def test_triton_is_an_error_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="the backend triton is not available: install Triton"), backend("triton"):
        pass


def test_one_that_is_named_refuses_what_it_cannot_compute() -> None:
    with backend("cpu"), pytest.raises(InputError, match=r"is torch\.float16 on cpu, expected float32 or float64 on"):
        choose(torch.zeros(1, dtype=torch.float16))


@pytest.mark.usefixtures("as_a_user")
def test_an_unknown_one_is_refused() -> None:
    unknown: Any = "fast"
    with pytest.raises(InputError, match="unknown backend 'fast': expected one of auto, reference"), backend(unknown):
        pass


COMPILED = """
import torch
from pixelrnn import PixelRNN
from pixelrnn.nn import DiagonalBiLSTM, MaskedConv2d, RowLSTM

def gradients(f, x, module):
    y = f(x)
    return [y.detach(), *torch.autograd.grad(y.double().pow(2).mean(), list(module.parameters()))]

def same(got, wanted):
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)

def stored(module, x):
    return sum(p.numel() for p in module.parameters())

for layer in (RowLSTM(4, 5), DiagonalBiLSTM(4, 5), MaskedConv2d("B", 4, 6, 3)):
    whole = torch.compile(layer, fullgraph=True)
    for shape in ((2, 4, 3, 4), (3, 4, 5, 6), (2, 4, 7, 3)):
        x = torch.randn(shape)
        same(gradients(whole, x, layer), gradients(layer, x, layer))
    for _ in range(2):
        exported = torch.export.export(layer, (x,))
        same([exported.module()(x)], [layer(x)])
    assert type(layer(x)) is torch.Tensor
    assert type(torch.func.jacrev(lambda x: layer(x).sum())(x)) is torch.Tensor

for kind in ("diagonal-bilstm", "row-lstm", "pixel-cnn"):
    model = PixelRNN(layer=kind, levels=4, hidden=4, depth=2)
    scores = torch.compile(model.log_prob, fullgraph=True)
    for batch, height, width in ((3, 5, 4), (2, 6, 7), (5, 4, 4)):
        x = torch.randint(4, (batch, 1, height, width), dtype=torch.uint8)
        same(gradients(scores, x, model), gradients(model.log_prob, x, model))
    # Two compilations are enough: other sizes cause none.
    assert torch._dynamo.utils.counters["frames"]["total"] <= 3, torch._dynamo.utils.counters["frames"]
    torch._dynamo.reset(), torch._dynamo.utils.counters.clear()
    same([torch.export.export(model, (x,)).module()(x)], [model(x)])
print("all the same")
"""


@pytest.mark.slow  # compiles several networks, in a process without shape checks: torch.compile cannot see through them
@pytest.mark.timeout(400)
def test_torch_compile_and_export_are_equal_to_eager(tmp_path: Path) -> None:
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}  # others may hold older operators
    command = [sys.executable, "-c", COMPILED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "all the same\n", done.stderr
