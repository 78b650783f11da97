from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pixelrnn.explain import step
from pixelrnn.nn import DiagonalBiLSTM, RowLSTM
from pixelrnn.ops import backend


class Recorder(TorchFunctionMode):
    """Records the shapes of each step of the reference recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[dict[str, step.Shape]] = []
        self.splits: list[dict[str, step.Shape]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.functional.einsum:
            _, taps, weight = args
            self.products.append({"h₋": (*taps.shape,), "Kss": (*weight.shape,), "Kss ⊛ h₋": (*result.shape,)})
        if func is Tensor.chunk:
            self.splits.append({"sum": (*args[0].shape,), "gate": (*result[0].shape,)})
        return result


@pytest.mark.parametrize("kind", [RowLSTM, DiagonalBiLSTM])
def test_the_shapes_are_those_that_the_layers_compute_with(kind: type[RowLSTM] | type[DiagonalBiLSTM]) -> None:
    layer, x = kind(64, 32), torch.zeros(16, 64, 28, 28)
    recorder = Recorder()
    with torch.no_grad(), backend("reference"):
        whole = {"x": (*x.shape,), "Kis ⊛ x": (*layer.input_to_state(x).shape,)}
        with recorder:
            layer(x)
    assert len(recorder.products) == len(recorder.splits) == (28 if kind is RowLSTM else 55)
    for t, (product, split) in enumerate(zip(recorder.products, recorder.splits, strict=True)):
        assert step.shapes(layer, t) == {**whole, **product, **split}


def test_the_shapes_of_a_row() -> None:
    assert step.shapes(RowLSTM(64, 32), 3) == {
        "x": (16, 64, 28, 28),
        "Kis ⊛ x": (16, 128, 28, 28),
        "h₋": (1, 3, 28, 16, 32),
        "Kss": (1, 3, 32, 128),
        "Kss ⊛ h₋": (1, 28, 16, 128),
        "sum": (1, 28, 16, 128),
        "gate": (1, 28, 16, 32),
    }
