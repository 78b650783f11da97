"""Colours, maps of pixels as cells, and saving: all figures use them.

The functions import matplotlib when they are called, so a program can import the colours without it.
"""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from pixelrnn.errors import InputError
from pixelrnn.files import replacing

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

# Colours of Okabe & Ito: readers of every colour vision tell them apart, and they differ in lightness.
BLUE, SKY, ORANGE, VERMILION = "#0072B2", "#8CC8EE", "#F0B020", "#D55E00"
WHITE, LIGHT, GREY, BLACK = "#FFFFFF", "#DCDCDC", "#8A8A8A", "#1A1A1A"

DPI = 110
ARROW = {"arrowstyle": "-|>", "color": BLACK, "lw": 1.4}


def new_figure(
    width: float, height: float, rows: int, columns: int
) -> tuple["matplotlib.figure.Figure", list[list["matplotlib.axes.Axes"]]]:
    """A figure, sized in inches, and its axes row by row. Raises InputError if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("figures need matplotlib, which is not installed: pip install 'pixelrnn[train]'") from None
    figure = Figure(figsize=(width, height), layout="constrained", dpi=DPI)
    return figure, [list(row) for row in figure.subplots(rows, columns, squeeze=False)]


def frame(axes: "matplotlib.axes.Axes", x: tuple[float, float], y: tuple[float, float]) -> None:
    """Makes axes show these ranges in square units, without ticks or border."""
    axes.set(xlim=x, ylim=y, aspect="equal", xticks=[], yticks=[])
    axes.set_frame_on(False)


def draw_cells(
    axes: "matplotlib.axes.Axes", colours: Sequence[Sequence[str | None]], labels: Sequence[Sequence[str]] | None = None
) -> None:
    """Draws a map with a square cell per pixel and (0, 0) at the top left. The colour None omits a cell."""
    from matplotlib.patches import Rectangle

    height, width = len(colours), len(colours[0])
    frame(axes, (-0.1, width + 0.1), (height + 0.1, -0.1))
    for i, row in enumerate(colours):
        for j, colour in enumerate(row):
            if colour is None:
                continue
            hatch = "///" if colour == VERMILION else None  # a leak is visible without its colour too
            axes.add_patch(Rectangle((j, i), 1, 1, facecolor=colour, edgecolor=GREY, linewidth=0.4, hatch=hatch))
            if labels is not None:
                axes.text(j + 0.5, i + 0.5, labels[i][j], ha="center", va="center", fontsize=8, color=BLACK)


def outline(axes: "matplotlib.axes.Axes", i: int, j: int) -> None:
    """Frames the cell of pixel (i, j)."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((j, i), 1, 1, fill=False, edgecolor=BLACK, linewidth=2, zorder=3))


def legend(figure: "matplotlib.figure.Figure", meanings: dict[str, str]) -> None:
    """Draws a legend of the colours below the figure."""
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=colour, edgecolor=GREY, hatch="///" if colour == VERMILION else None, label=meaning)
        for meaning, colour in meanings.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)


def save(path: Path, figure: "matplotlib.figure.Figure") -> None:
    """Writes a figure in the format that the name ends with, PNG or SVG."""
    from matplotlib import rc_context

    # Without a date and with a fixed salt, the same figure gives the same file.
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with replacing(path) as temporary, rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(temporary, format=path.suffix[1:], metadata=metadata, bbox_inches="tight")


def save_animation(path: Path, figures: Iterable["matplotlib.figure.Figure"], *, seconds: float) -> None:
    """Writes figures of one size as an animated GIF that shows each for ``seconds`` and starts again after a pause."""
    frames = [_picture(figure) for figure in figures]
    # One palette for all: colours must not flicker from frame to frame.
    palette = frames[-1].quantize(256, dither=Image.Dither.NONE)
    shown = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [round(1000 * seconds)] * (len(shown) - 1) + [2500]
    with replacing(path) as temporary:
        shown[0].save(temporary, "GIF", save_all=True, append_images=shown[1:], duration=times, loop=0)


def _picture(figure: "matplotlib.figure.Figure") -> Image.Image:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return Image.open(drawn).convert("RGB")
