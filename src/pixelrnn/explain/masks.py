"""The masks A and B (paper §3.4), tap by tap, from `pixelrnn.nn.mask`."""

import itertools

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pixelrnn.figures import BLACK, BLUE, GREY, LIGHT, frame, legend, new_figure
from pixelrnn.nn import mask
from pixelrnn.nn.masks import MaskType

GAP = 0.12  # between the matrices of two taps; a tap has side 1


def of_one_channel() -> Figure:
    """A tap of a grey image is open or closed."""
    return _figure(
        "",
        ("A", 7, "mask A, 7×7: the first convolution\ndoes not see the value that it predicts"),
        ("B", 3, "mask B, 3×3: later ones see what was\ncomputed from the pixels before"),
    )


def of_rgb() -> Figure:
    """A tap of a colour image is a matrix that says which channel may reach which."""
    return _figure(
        "RGB",
        ("A", 3, "mask A (the middle of 7×7): within the\npixel R reaches G and B, G reaches B"),
        ("B", 3, "mask B: within the pixel\nevery channel reaches itself, too"),
    )


def _figure(channels: str, *kernels: tuple[MaskType, int, str]) -> Figure:
    """Kernels side by side, each with its mask, its size and its title."""
    figure, [row] = new_figure(7.8, 4.6, 1, len(kernels))
    for axes, (mask_type, size, title) in zip(row, kernels, strict=True):
        _draw(axes, mask_type, size, channels)
        axes.set_title(title, fontsize=10)
    legend(figure, {"open": BLUE, "closed": LIGHT})
    return figure


def _draw(axes: Axes, mask_type: MaskType, size: int, channels: str) -> None:
    """Draws a kernel with a matrix for each tap: its columns are the channels read, its rows the channels computed."""
    c = max(1, len(channels))
    taps = mask(mask_type, c, c, (size, size), channels=c)
    before, after = (0.35, 0.0) if channels else ((7 - size) / 2, (7 - size) / 2)  # grey taps all have one size
    frame(axes, (-before, size + after), (size + after, -before))
    side, middle = (1 - GAP) / c, size // 2 + GAP / 2
    for i, j, b, a in itertools.product(range(size), range(size), range(c), range(c)):
        cell = (j + GAP / 2 + a * side, i + GAP / 2 + b * side)
        colour = BLUE if taps[b, a, i, j] else LIGHT
        axes.add_patch(Rectangle(cell, side, side, facecolor=colour, edgecolor=GREY, linewidth=0.4))
    axes.add_patch(Rectangle((middle, middle), 1 - GAP, 1 - GAP, fill=False, edgecolor=BLACK, linewidth=2))
    for k, channel in enumerate(channels):
        for tap in range(size):
            at = tap + GAP / 2 + (k + 0.5) * side
            axes.text(at, -0.06, channel, ha="center", va="center", fontsize=8)
            axes.text(-0.06, at, channel, ha="center", va="center", fontsize=8)
    if channels:
        axes.text(size / 2, -0.25, "from", ha="center", va="center", fontsize=9)
        axes.text(-0.25, size / 2, "to", ha="center", va="center", fontsize=9, rotation=90)
