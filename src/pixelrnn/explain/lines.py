"""Which pixels are computed together: the lines of both LSTMs, step by step, as `pixelrnn.recurrence` walks them."""

from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pixelrnn.explain.style import BLACK, LIGHT, ORANGE, SKY, WHITE, draw_cells, legend, new_figure
from pixelrnn.recurrence import Lines, diagonal_lines, row_lines

HEIGHT, WIDTH = 5, 7
MEANINGS = {"computed in this step": ORANGE, "before": SKY, "later": WHITE}

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
    """The Diagonal BiLSTM: a diagonal at each step, in both directions; the skewed map; the storage behind it."""
    lines = diagonal_lines(HEIGHT, WIDTH)
    for t, line in enumerate(lines.positions[0]):
        figure, [[image, mirror], [skewed, storage]] = new_figure(9.6, 6.8, 2, 2)
        _draw_image(image, lines, 0, t)
        image.set_title("the image: one diagonal, i + j = t", fontsize=10)
        _draw_image(mirror, lines, 1, t)
        mirror.set_title("at the same time, the second direction", fontsize=10)
        _draw_skewed(skewed, lines, t, whole=False)
        skewed.set_title("the paper's skewed map: the diagonal is column t", fontsize=10)
        _draw_skewed(storage, lines, t, whole=True)
        storage.set_title(f"the memory of the image, read in rows of stride W − 1 = {WIDTH - 1}", fontsize=10)
        pixels = f"{len(line)} pixel{'s' * (len(line) > 1)} at once"
        figure.suptitle(f"Diagonal BiLSTM, step {t + 1} of {HEIGHT + WIDTH - 1}: t = {t}, {pixels}", fontsize=11)
        legend(figure, {**MEANINGS, "beside them in memory": LIGHT})
        yield figure


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
            # From the edge of what is read to the edge of what reads it, beside the numbers.
            start, end = (j + dj * 0.72 + 0.5, i + di * 0.72 + 0.5), (j + dj * 0.28 + 0.5, i + di * 0.28 + 0.5)
            axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": BLACK, "lw": 1.4}, zorder=4)


def _draw_skewed(axes: Axes, lines: Lines, t: int, *, whole: bool) -> None:
    """Row i, column s holds the value at i·(W − 1) + s of the memory; ``whole`` shows those on no line too."""
    state, width = _state(lines, 0, t), lines.width
    colours: list[list[str | None]] = []
    labels: list[list[str]] = []
    for i in range(lines.height):
        places = [i * (width - 1) + s for s in range(lines.height + width - 1)]
        on_line = [i <= s < i + width for s in range(len(places))]
        rest = LIGHT if whole else None
        colours.append([state[p] if on else rest for p, on in zip(places, on_line, strict=True)])
        labels.append([str(p) for p in places])
    draw_cells(axes, colours, labels)
    axes.axvline(t, color=BLACK, linewidth=1.2)
    axes.axvline(t + 1, color=BLACK, linewidth=1.2)
