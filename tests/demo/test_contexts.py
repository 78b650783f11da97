import pytest

from pixelrnn.demo.contexts import SIZE, START, contexts
from pixelrnn.explain.context import NAMES, of_random


@pytest.mark.parametrize("at", [(0, 0), START, (14, 18)])
def test_the_pixels_of_each_kind_of_layer(at: tuple[int, int]) -> None:
    for layer, seen in zip(NAMES, contexts([*at]), strict=True):
        rows, columns = of_random(layer, 1, SIZE, at).array.nonzero()
        assert [divmod(p, SIZE[1]) for p in seen] == [*zip(rows.tolist(), columns.tolist(), strict=True)]
        assert all(p < at[0] * SIZE[1] + at[1] for p in seen)
