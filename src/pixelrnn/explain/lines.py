"""Which pixels are computed together: the lines of both LSTMs, step by step, as `pixelrnn.ops` walks them."""

from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pixelrnn.figures import BLACK, LIGHT, ORANGE, SKY, WHITE, draw_cells, legend, new_figure
from pixelrnn.ops.lines import Lines, diagonal_lines, row_lines

HEIGHT, WIDTH = 5, 7
MEANINGS = {"computed in this step": ORANGE, "computed before": SKY, "computed later": WHITE}

State = dict[int, str]
"""The colour of each position."""


def rows() -> Iterator[Figure]:
    """The Row LSTM: a row at each step."""
    lines = row_lines(HEIGHT, WIDTH)
    for t, line in enumerate(lines.positions[0]):
        figure, [[axes]] = new_figure(5.2, 4.6, 1, 1)
        _draw_image(axes, lines, 0, t)
        figure.suptitle(f"Row LSTM, step {t + 1} of {HEIGHT}: row {t}, {len(line)} pixels at once", fontsize=11)
        legend(figure, MEANINGS)
        yield figure


def diagonals() -> Iterator[Figure]:
    """The Diagonal BiLSTM: a diagonal at each step, in both directions."""
    lines = diagonal_lines(HEIGHT, WIDTH)
    for t in range(len(lines.first)):
        figure, [[first, second]] = new_figure(9.6, 4.4, 1, 2)
        _draw_image(first, lines, 0, t)
        first.set_title("first direction: the diagonal i + j = t", fontsize=10)
        _draw_image(second, lines, 1, t)
        second.set_title("second direction: its mirror image", fontsize=10)
        _title(figure, lines, t)
        legend(figure, MEANINGS)
        yield figure


def skewing() -> Iterator[Figure]:
    """The first direction once more: in the paper's skewed map, and in the memory behind it."""
    lines = diagonal_lines(HEIGHT, WIDTH)
    for t in range(len(lines.first)):
        figure, [[skewed, memory]] = new_figure(10.4, 4.0, 1, 2)
        _draw_skewed(skewed, lines, t, whole=False)
        skewed.set_title("the paper's skewed map: the diagonal is column t", fontsize=10)
        _draw_skewed(memory, lines, t, whole=True)
        memory.set_title(f"the image's memory, read in rows of stride W − 1 = {WIDTH - 1}", fontsize=10)
        _title(figure, lines, t)
        legend(figure, {**MEANINGS, "the same memory a second time, skipped": LIGHT})
        yield figure


def _title(figure: Figure, lines: Lines, t: int) -> None:
    """Says which step of the Diagonal BiLSTM a frame shows."""
    n = lines.lengths[t]
    figure.suptitle(f"Diagonal BiLSTM, step {t + 1} of {len(lines.first)}: t = {t}, {n} pixel{'s' * (n > 1)} at once")


def _state(lines: Lines, direction: int, t: int) -> State:
    now, before = lines.positions[direction][t], lines.positions[direction][:t]
    done = {p for line in before for p in line}
    return {p: ORANGE if p in now else SKY if p in done else WHITE for p in range(lines.height * lines.width)}


def _draw_image(axes: Axes, lines: Lines, direction: int, t: int) -> None:
    """The image, each pixel with its place in memory; from the pixel in the middle of the line, what it reads."""
    state = _state(lines, direction, t)
    positions = [[i * lines.width + j for j in range(lines.width)] for i in range(lines.height)]
    draw_cells(axes, [[state[p] for p in row] for row in positions], [[str(p) for p in row] for row in positions])
    line = lines.positions[direction][t]
    i, j = divmod(line[len(line) // 2], lines.width)
    for di, dj in lines.taps[direction]:
        if i + di >= 0 and 0 <= j + dj < lines.width:
            _draw_arrow(axes, i, j, di, dj)


def _draw_arrow(axes: Axes, i: int, j: int, di: int, dj: int) -> None:
    """From the cell that is read to cell (i, j) that reads it, beside the numbers."""
    start, end = (j + dj * 0.72 + 0.5, i + di * 0.72 + 0.5), (j + dj * 0.28 + 0.5, i + di * 0.28 + 0.5)
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": BLACK, "lw": 1.4}, zorder=4)


def _draw_skewed(axes: Axes, lines: Lines, t: int, *, whole: bool) -> None:
    """Row i, column s holds the value at i·(W − 1) + s of the memory; ``whole`` shows those on no line too."""
    state, width = _state(lines, 0, t), lines.width
    rest = LIGHT if whole else None
    places = [[i * (width - 1) + s for s in range(lines.height + width - 1)] for i in range(lines.height)]
    colours = [[state[p] if i <= s < i + width else rest for s, p in enumerate(row)] for i, row in enumerate(places)]
    draw_cells(axes, colours, [[str(p) for p in row] for row in places])
    axes.add_patch(Rectangle((t, 0), 1, lines.height, fill=False, edgecolor=BLACK, linewidth=1.6, zorder=3))
    line = lines.positions[0][t]
    i, j = divmod(line[len(line) // 2], width)
    for di, dj in lines.taps[0]:
        if i + di >= 0 and j + dj >= 0:
            _draw_arrow(axes, i, t, di, di + dj)
