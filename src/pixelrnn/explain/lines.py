"""The lines of both LSTMs, step by step, in the order of `pixelrnn.ops`: the pixels that are computed together."""

from collections.abc import Callable, Iterator
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pixelrnn.figures import ARROW, BLACK, LIGHT, ORANGE, SKY, WHITE, draw_cells, legend, new_figure
from pixelrnn.ops.lines import Lines, diagonal_lines, row_lines

HEIGHT, WIDTH = 5, 7
MEANINGS = {"computed in this step": ORANGE, "computed before": SKY, "computed later": WHITE}

Panels = dict[str, Callable[[Axes, int], None]]
"""Functions that draw step t, by the title of their panel."""


def rows() -> Iterator[Figure]:
    """The Row LSTM: a row at each step."""
    lines = row_lines(HEIGHT, WIDTH)
    return _frames("Row LSTM", lines, {"": partial(_draw, lines)}, 5.2, 4.6)


def diagonals() -> Iterator[Figure]:
    """The Diagonal BiLSTM: a diagonal at each step, in both directions."""
    lines = diagonal_lines(HEIGHT, WIDTH)
    panels: Panels = {
        "first direction: the diagonal i + j = t": partial(_draw, lines),
        "second direction: its mirror image": partial(_draw, lines, direction=1),
    }
    return _frames("Diagonal BiLSTM", lines, panels, 9.6, 4.4)


def skewing() -> Iterator[Figure]:
    """The first direction again: in the paper's skewed map, and in the memory behind it."""
    lines = diagonal_lines(HEIGHT, WIDTH)
    draw = partial(_draw, lines, skewed=True)
    panels: Panels = {
        "the paper's skewed map: the diagonal is column t": draw,
        f"the image's memory, read in rows of stride W − 1 = {WIDTH - 1}": partial(draw, rest=LIGHT),
    }
    meanings = {**MEANINGS, "the same memory a second time, skipped": LIGHT}
    return _frames("Diagonal BiLSTM", lines, panels, 10.4, 4.0, meanings)


def _frames(
    layer: str, lines: Lines, panels: Panels, width: float, height: float, meanings: dict[str, str] = MEANINGS
) -> Iterator[Figure]:
    """A frame for each step, with panels side by side."""
    of_rows = len(lines.taps) == 1
    for t, n in enumerate(lines.lengths):
        figure, [row] = new_figure(width, height, 1, len(panels))
        for axes, (title, draw) in zip(row, panels.items(), strict=True):
            draw(axes, t)
            axes.set_title(title, fontsize=10)
        step = f"step {t + 1} of {len(lines.lengths)}: {'row' if of_rows else 't ='} {t}"
        at_once = f"{n} pixel{'s' * (n > 1)} at once"
        figure.suptitle(f"{layer}, {step}, {at_once}", fontsize=11 if of_rows else 12)
        legend(figure, meanings)
        yield figure


def _draw(
    lines: Lines, axes: Axes, t: int, *, direction: int = 0, skewed: bool = False, rest: str | None = None
) -> None:
    """Draws the image, the place of each pixel in memory, and arrows from the taps of the line's middle pixel.

    Row i, column s of the skewed map holds the value at i·(W − 1) + s of the memory. Cells on no line have the colour
    ``rest``.
    """
    width, line = lines.width, lines.positions[direction][t]
    done = {p for earlier in lines.positions[direction][:t] for p in earlier}
    stride, columns = (width - 1, lines.height + width - 1) if skewed else (width, width)
    places = [[i * stride + s for s in range(columns)] for i in range(lines.height)]

    def colour(i: int, s: int) -> str | None:
        if skewed and not i <= s < i + width:
            return rest
        return ORANGE if places[i][s] in line else SKY if places[i][s] in done else WHITE

    colours = [[colour(i, s) for s in range(columns)] for i in range(lines.height)]
    draw_cells(axes, colours, [[str(p) for p in row] for row in places])
    if skewed:
        axes.add_patch(Rectangle((t, 0), 1, lines.height, fill=False, edgecolor=BLACK, linewidth=1.6, zorder=3))
    i, j = divmod(line[len(line) // 2], width)
    for di, dj in lines.taps[direction]:
        if i + di >= 0 and 0 <= j + dj < width:
            column, to_left = (i + j, di + dj) if skewed else (j, dj)
            start, end = ((column + part * to_left + 0.5, i + part * di + 0.5) for part in (0.72, 0.28))
            axes.annotate("", end, start, arrowprops=ARROW, zorder=4)  # beside the numbers
