from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pixelrnn.explain import lines
from pixelrnn.explain.style import ORANGE


def computed(figure: Figure) -> list[set[str]]:
    """The labels of the cells that are computed, of each map."""
    maps = []
    for axes in figure.axes:
        cells = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        labels = {(text.get_position()[0] - 0.5, text.get_position()[1] - 0.5): text.get_text() for text in axes.texts}
        maps.append({labels[cell.get_xy()] for cell in cells if to_hex(cell.get_facecolor()).upper() == ORANGE})
    return maps


@pytest.mark.parametrize(("figures", "maps", "steps"), [(lines.rows, 1, 5), (lines.diagonals, 4, 11)])
def test_every_pixel_is_computed_once(figures: Callable[[], Iterator[Figure]], maps: int, steps: int) -> None:
    frames = [computed(figure) for figure in figures()]
    assert len(frames) == steps
    for k in range(maps):
        counts = Counter(label for frame in frames for label in frame[k])
        assert counts == {str(p): 1 for p in range(lines.HEIGHT * lines.WIDTH)}


def test_the_storage_shows_the_diagonal_in_the_same_column_as_the_skewed_map() -> None:
    for image, _, skewed, storage in map(computed, lines.diagonals()):
        assert image == skewed == storage
