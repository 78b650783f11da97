import pytest

from pixelrnn.demo.contexts import SIZE, START, contexts
from pixelrnn.explain.context import NAMES, sees


@pytest.mark.parametrize("at", [(0, 0), START, (14, 18)])
def test_the_pixels_of_each_kind_of_layer(at: tuple[int, int]) -> None:
    for layer, seen in zip(NAMES, contexts([*at]), strict=True):
        pixels = sees(layer, 1, SIZE, at)
        assert [divmod(p, SIZE[1]) for p in seen] == [(i, j) for i, j in pixels.nonzero().tolist()]
        assert all(p < at[0] * SIZE[1] + at[1] for p in seen)
