from pathlib import Path

import numpy as np
import pytest
import torch

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


def test_other_models_are_refused(tmp_path: Path) -> None:
    refused: list[tuple[ImageModel, str]] = [
        (PixelRNN(levels=3, hidden=2, size=(4, 3)), "not a PixelRNN of black-and-white images .* of one size"),
        (PixelRNN(levels=2, hidden=2), "not a PixelRNN of black-and-white images .* of one size"),
        (MultiScalePixelRNN(factors=(2,), levels=2, hidden=2, size=(4, 4)), "not a PixelRNN of black-and-white"),
        (PixelRNN(levels=2, hidden=2, size=(4, 3), condition=1), "conditional on a map, expected a model without one"),
        (PixelRNN(levels=2, hidden=2, size=(1, 1)), "no earlier pixel has any influence on the middle one"),
    ]
    for model, message in refused:
        model.save_pretrained(tmp_path)
        with pytest.raises(InputError, match=message):
            context.of_trained([str(tmp_path)])


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
