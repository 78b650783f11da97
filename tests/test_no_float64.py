"""MPS has no float64: scoring and training use none, and sampling only where it says so and leaves the device.

No test runs on MPS. There, `pixelrnn.likelihood.draw` and `pixelrnn.randomness.Noise` compute in float64 on the
CPU; their own tests check that.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from pixelrnn import MultiScalePixelRNN, PixelRNN
from pixelrnn.causality import device_of_float64
from pixelrnn.likelihood import draw
from pixelrnn.models import ImageModel
from pixelrnn.ops import backend
from pixelrnn.randomness import Noise
from pixelrnn.sampling import reference

MODELS: dict[str, Callable[[], ImageModel]] = {
    "diagonal": lambda: PixelRNN(levels=2, hidden=2, orders=8),
    "row": lambda: PixelRNN(layer="row-lstm", channels=3, levels=4, hidden=3, classes=["a", "b"]),
    "pixel-cnn": lambda: PixelRNN(layer="pixel-cnn", levels=2, hidden=2, dropout=0.1),
    "scales": lambda: MultiScalePixelRNN(factors=(2,), levels=2, hidden=2),
}


class NoFloat64(TorchDispatchMode):
    """Refuses operations that make float64 of other types. Those that only move the noise are welcome."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if _has_float64(result) and not _has_float64((args, kwargs)):
            raise TypeError(f"{func} gives float64")
        return result


REFUSED: Any = NoFloat64  # PyTorch's constructor of it has no types


def _has_float64(tree: Any) -> bool:
    return any(isinstance(leaf, Tensor) and leaf.dtype == torch.float64 for leaf in tree_leaves(tree))


def allowed(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes():
            return function(*args, **kwargs)

    return call


@pytest.mark.parametrize("kind", MODELS)
def test_scores_and_training_steps_use_no_float64(kind: str) -> None:
    model = MODELS[kind]()
    x = torch.randint(model.levels, (2, model.channels, 3, 4), dtype=torch.uint8)
    labels = torch.tensor([0, 1]) if model.classes else None
    optimizer = torch.optim.Adam(model.parameters())
    with backend("manual"), REFUSED():
        model.log_prob(x, labels=labels, order="mixture").mean().neg().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


@pytest.mark.parametrize("kind", MODELS)
def test_only_the_draws_of_a_sample_use_float64(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "draw", allowed(draw))
    monkeypatch.setattr(Noise, "row", allowed(Noise.row))
    model = MODELS[kind]()
    labels = torch.tensor([0, 1]) if model.classes else None
    with backend("manual"), REFUSED():
        x = model.sample(2, height=3, width=3, seed=0, labels=labels)
        model.complete(x, torch.arange(3)[:, None].expand(3, 3) > 0, seed=0, labels=labels)


def test_the_causality_check_leaves_mps() -> None:
    assert device_of_float64(torch.device("mps")) == torch.device("cpu")
    assert device_of_float64(torch.device("cuda", 1)) == torch.device("cuda", 1)


def test_the_check_finds_float64() -> None:
    with pytest.raises(TypeError, match="gives float64"), REFUSED():
        torch.zeros(1).double()
