from collections.abc import Callable

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pixelrnn.explain import masks
from pixelrnn.figures import BLUE, LIGHT


@pytest.mark.parametrize(
    ("figure", "open_a", "closed_a", "open_b", "closed_b"),
    [(masks.of_one_channel, 24, 25, 5, 4), (masks.of_rgb, 4 * 9 + 3, 4 * 9 + 6, 4 * 9 + 6, 4 * 9 + 3)],
)
def test_open_and_closed(figure: Callable[[], Figure], open_a: int, closed_a: int, open_b: int, closed_b: int) -> None:
    for axes, expected in zip(figure().axes, [(open_a, closed_a), (open_b, closed_b)], strict=True):
        cells = [patch for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_fill()]
        colours = [to_hex(cell.get_facecolor()).upper() for cell in cells]
        assert (colours.count(BLUE), colours.count(LIGHT)) == expected
