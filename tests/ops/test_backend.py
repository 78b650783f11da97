import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pixelrnn import PixelRNN
from pixelrnn.backend import Backend, _compiles, backend, choose
from pixelrnn.compiled import operators
from pixelrnn.errors import InputError
from pixelrnn.nn import LayerKind


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CXX", "no-such-compiler")
    operators.cache_clear()
    _compiles.cache_clear()
    yield
    operators.cache_clear()
    _compiles.cache_clear()


def test_auto_takes_the_fastest_that_can_run() -> None:
    assert choose(torch.zeros(1)) == "compiled"
    assert choose(torch.zeros(1, dtype=torch.double)) == "compiled"
    assert choose(torch.zeros(1, dtype=torch.bfloat16)) == "manual"
    assert choose(torch.zeros(1, device="meta")) == "manual"


def test_one_that_is_named_is_taken_and_given_back() -> None:
    with backend("reference"):
        assert choose(torch.zeros(1)) == "reference"
        with backend("manual"):
            assert choose(torch.zeros(1)) == "manual"
        assert choose(torch.zeros(1)) == "reference"
    assert choose(torch.zeros(1)) == "compiled"


def test_operands_of_different_kinds_are_left_to_pytorch_s_own_errors() -> None:
    assert choose(torch.zeros(1), torch.zeros(1, device="meta")) == "manual"
    assert choose(torch.zeros(1), torch.zeros(1, dtype=torch.double)) == "manual"


@pytest.mark.parametrize("layer", ["row-lstm", "pixel-cnn"])
@pytest.mark.parametrize("name", ["auto", "reference", "manual", "compiled"])
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


COMPILED = """
import torch
from pixelrnn import PixelRNN
model, x = PixelRNN(levels=2, hidden=2), torch.rand(2, 1, 2, 3)
torch.testing.assert_close(torch.compile(model.logits, backend="eager")(x), model.logits(x))
"""


@pytest.mark.slow  # a process of its own, without the shape checks of the tests, through which torch.compile cannot see
def test_torch_compile_looks_at_the_reference() -> None:
    subprocess.run([sys.executable, "-c", COMPILED], check=True)


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_auto_says_once_that_it_is_slower() -> None:
    with pytest.warns(UserWarning, match=r"no-such-compiler is not there .*; the manual backend, .* is taken instead"):
        assert choose(torch.zeros(1)) == "manual"
    assert choose(torch.zeros(1)) == "manual"  # a second warning would be an error


@pytest.mark.usefixtures("no_compiler")
def test_one_that_is_named_and_cannot_run_is_an_error() -> None:
    with backend("compiled"), pytest.raises(InputError, match="needs a C\\+\\+ compiler"):
        choose(torch.zeros(1))
    with backend("compiled"), pytest.raises(InputError, match=r"for float32 or float64 on a CPU, not torch\.float16"):
        choose(torch.zeros(1, dtype=torch.float16))


@pytest.mark.usefixtures("as_a_user")
def test_an_unknown_one_is_refused() -> None:
    unknown: Any = "fast"
    with pytest.raises(InputError, match="unknown backend 'fast': expected one of auto, reference"), backend(unknown):
        pass
