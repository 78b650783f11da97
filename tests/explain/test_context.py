from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pixelrnn import InputError, MultiScalePixelRNN, PixelRNN
from pixelrnn.explain import context
from pixelrnn.models import ImageModel
from pixelrnn.nn import LayerKind

SIZE, AT = (12, 16), (9, 6)
PIXELS = [(i, j) for i in range(SIZE[0]) for j in range(SIZE[1])]


def seen(layer: LayerKind, depth: int) -> set[tuple[int, int]]:
    return {*zip(*(k.tolist() for k in context.of_random(layer, depth, SIZE, AT).array.nonzero()), strict=True)}


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_pixelcnn_sees_a_window_that_grows(depth: int) -> None:
    # 3×3 convolutions, after a 7×7 convolution that does not see its centre.
    reached = {AT}
    for _ in range(depth):
        reached |= {(i + di, j + dj) for i, j in reached for di, dj in [(-1, -1), (-1, 0), (-1, 1), (0, -1)]}
    window = {(i + di, j + dj) for i, j in reached for di in range(-3, 1) for dj in range(-3, 4) if (di, dj) < (0, 0)}
    assert seen("pixel-cnn", depth) == window & set(PIXELS)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_row_lstm_sees_a_triangle(depth: int) -> None:
    # d rows up, from −d − 1 to d, one more to the left per layer; then the window of the first convolution.
    states = {(AT[0] - d, AT[1] + dj) for d in range(AT[0] + 1) for dj in range(-d - depth, d + 1)} & set(PIXELS)
    window = {(i + di, j + dj) for i, j in states for di in range(-3, 1) for dj in range(-3, 4) if (di, dj) < (0, 0)}
    assert seen("row-lstm", depth) == window & set(PIXELS)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_diagonal_bilstm_sees_all_but_the_end_of_the_row_above(depth: int) -> None:
    # No feature so far has read the last pixel of the row above: the first convolution stops one pixel before.
    assert seen("diagonal-bilstm", depth) == {p for p in PIXELS if p < AT} - {(AT[0] - 1, SIZE[1] - 1)}


def test_the_influence_in_trained_models(tmp_path: Path) -> None:
    PixelRNN(levels=2, hidden=2, size=(5, 4), classes=["a", "b"]).save_pretrained(tmp_path / "one")
    PixelRNN(levels=2, hidden=2, size=(3, 4), layer="pixel-cnn").save_pretrained(tmp_path / "two")
    figure = context.of_trained([str(tmp_path / "one"), str(tmp_path / "two")])
    for axes, shape, at in zip(figure.axes, [(5, 4), (3, 4)], [(2, 2), (1, 2)], strict=False):
        positive = torch.tensor(np.ma.filled(np.ma.asarray(axes.get_images()[0].get_array()), 0) > 0)
        assert positive.shape == shape
        assert positive.any()
        assert not positive.flatten()[at[0] * 4 + at[1] :].any()


@pytest.mark.parametrize("levels", [2, 5])
def test_the_influence_is_that_of_each_derivative(levels: int) -> None:
    model = PixelRNN(channels=3, levels=levels, hidden=12, size=(3, 4), layer="row-lstm")
    at, n = (1, 2), 64
    x = model.sample(n, seed=0)
    levels_to_value = torch.linspace(-1, 1, levels)

    def predicted(intensities: Tensor, channel: int) -> Tensor:
        logits = model.logits(intensities)[:, :, channel, at[0], at[1]]
        return logits[:, 0] if levels == 2 else logits.softmax(dim=1) @ levels_to_value

    intensities = x * (2 / (levels - 1)) - 1
    squares = torch.zeros(n, 3, 4)
    for channel in range(3):
        variable = intensities.clone().requires_grad_()
        (by_input,) = torch.autograd.grad(predicted(variable, channel).sum(), variable)
        squares += by_input.square().sum(dim=1)
    found = context.influence(model, at, (3, 4))
    torch.testing.assert_close(found.float(), squares.sqrt().mean(dim=0))
    assert found[at] > 0  # G depends on R of the pixel itself


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"channels": 3, "levels": 4, "hidden": 3, "size": (3, 8), "classes": ["a", "b"], "orders": 2}, (3, 8)),
        ({"channels": 2, "levels": 256, "hidden": 2, "size": (4, 3)}, (4, 3)),
        ({"levels": 2, "hidden": 2}, (28, 28)),
    ],
)
def test_any_pixelrnn_has_influences(options: dict[str, Any], size: tuple[int, int], tmp_path: Path) -> None:
    model = PixelRNN(**options)
    model.save_pretrained(tmp_path)
    figure = context.of_trained([str(tmp_path), str(tmp_path)])
    for axes in figure.axes[:2]:
        assert np.asarray(axes.get_images()[0].get_array()).shape == size
    kind = "logit" if model.levels == 2 else "expected intensity"
    assert figure.axes[2].get_ylabel() == f"mean |∂ {kind} / ∂ pixel|"


def test_other_models_are_refused(tmp_path: Path) -> None:
    refused: list[tuple[ImageModel, str]] = [
        (MultiScalePixelRNN(factors=(2,), levels=2, hidden=2, size=(4, 4)), "is a MultiScalePixelRNN: .* use a Pixel"),
        (PixelRNN(levels=2, hidden=2, size=(4, 3), condition=1), "conditional on a map, expected a model without one"),
        (PixelRNN(levels=2, hidden=2, size=(1, 1)), "no earlier pixel has any influence on the middle one"),
    ]
    for model, message in refused:
        model.save_pretrained(tmp_path)
        with pytest.raises(InputError, match=message):
            context.of_trained([str(tmp_path)])


def test_predictions_of_two_kinds_have_no_common_scale(tmp_path: Path) -> None:
    for name, levels in {"two": 2, "three": 3}.items():
        PixelRNN(levels=levels, hidden=2, size=(4, 3)).save_pretrained(tmp_path / name)
    with pytest.raises(InputError, match=r"two has 2, .*three has 3: .* no common scale, draw them separately"):
        context.of_trained([str(tmp_path / "two"), str(tmp_path / "three")])


def test_what_each_direction_sees() -> None:
    i, j = context.SHIFT_AT
    pixels = [(a, b) for a in range(context.SHIFT_SIZE[0]) for b in range(context.SHIFT_SIZE[1])]

    def found(directions: tuple[int, ...], at: tuple[int, int]) -> set[tuple[int, int]]:
        return {*zip(*(k.tolist() for k in context.of_directions(directions, at).nonzero()), strict=True)}

    assert found((0,), (i, j)) == {(a, b) for a, b in pixels if a <= i and b <= j}
    assert found((1,), (i, j)) == {(a, b) for a, b in pixels if a < i and b >= j}
    assert found((0, 1), (i, j)) == {p for p in pixels if p <= (i, j)}
    # Before the shift, the second direction's state at (i, j) has seen later pixels.
    assert found((1,), (i + 1, j)) == {(a, b) for a, b in pixels if a <= i and b >= j}
    assert found((), (i, j)) == set()
