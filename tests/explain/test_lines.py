from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pixelrnn.explain import lines
from pixelrnn.figures import ORANGE


def computed(figure: Figure) -> list[set[str]]:
    """For each map, the labels of the computed cells."""
    maps = []
    for axes in figure.axes:
        cells = [patch for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_fill()]
        labels = {(text.get_position()[0] - 0.5, text.get_position()[1] - 0.5): text.get_text() for text in axes.texts}
        maps.append({labels[cell.get_xy()] for cell in cells if to_hex(cell.get_facecolor()).upper() == ORANGE})
    return maps


@pytest.mark.parametrize(
    ("figures", "maps", "steps"), [(lines.rows, 1, 5), (lines.diagonals, 2, 11), (lines.skewing, 2, 11)]
)
def test_every_pixel_is_computed_once(figures: Callable[[], Iterator[Figure]], maps: int, steps: int) -> None:
    frames = [computed(figure) for figure in figures()]
    assert len(frames) == steps
    for k in range(maps):
        counts = Counter(label for frame in frames for label in frame[k])
        assert counts == {str(p): 1 for p in range(lines.HEIGHT * lines.WIDTH)}


def test_a_column_is_a_diagonal() -> None:
    for diagonal, column in zip(lines.diagonals(), lines.skewing(), strict=True):
        assert computed(diagonal)[0] == computed(column)[0] == computed(column)[1]
