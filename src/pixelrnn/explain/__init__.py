"""Figures of how a Row LSTM computes a row, and a Diagonal BiLSTM a diagonal. The layers themselves compute them.

mask-grey, mask-rgb      masks A and B, tap by tap
context                  the pixels that a pixel sees after one, two and three layers of each kind
influence                the strength of each pixel's influence in trained models
rows, diagonals          the pixels that are computed together, step by step
skewing                  the same in the paper's skewed map, and in memory
row-step, diagonal-step  one step: its inputs, its results and their shapes
shift                    the leak of the Diagonal BiLSTM's second direction if it did not move down one row
generation               an image being drawn: pixels, predictions, surprise
orders                   the eight orders in which a model may generate an image
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from pixelrnn.errors import extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Still = Literal["mask-grey", "mask-rgb", "context", "influence", "row-step", "diagonal-step", "shift", "orders"]
Animation = Literal["rows", "diagonals", "skewing", "generation"]
FigureName = Literal[Still, Animation]
FIGURES: tuple[FigureName, ...] = get_args(FigureName)
StillFormat = Literal["png", "svg"]


def place(name: FigureName, folder: Path, *, still: StillFormat = "png") -> Path:
    """The path of a figure's file."""
    return folder / f"{name}.{'gif' if name in get_args(Animation) else still}"


def draw(name: FigureName, folder: Path, *, models: Sequence[str], still: StillFormat = "png") -> Path:
    """Draws a figure into a file of its name in a folder: in the format ``still``, or as a GIF if it is animated.

    Args:
        models: the models of the figure ``influence``; the first of them draws the image of ``generation``.

    Raises:
        InputError: matplotlib is not installed (extra ``train``); or a model is not found, is not a `PixelRNN`, or is
            conditional on a map; the models of ``influence`` have 2 levels and more levels; the model of
            ``generation`` has neither 1 nor 3 channels.
    """
    with extra("train", wanted_by="pixelrnn.explain"):
        from pixelrnn import figures
        from pixelrnn.explain import context, generation, lines, masks, orders, step

    drawings: dict[FigureName, Callable[[], Figure | Iterator[Figure]]] = {
        "mask-grey": masks.of_one_channel,
        "mask-rgb": masks.of_rgb,
        "context": context.by_depth,
        "influence": partial(context.of_trained, models),
        "row-step": step.of_row,
        "diagonal-step": step.of_diagonal,
        "shift": context.shift,
        "orders": orders.of_grid,
        "rows": lines.rows,
        "diagonals": lines.diagonals,
        "skewing": lines.skewing,
        "generation": partial(generation.of_sample, models[0]),
    }
    drawn, path = drawings[name](), place(name, folder, still=still)
    if isinstance(drawn, Iterator):
        figures.save_animation(path, drawn, seconds=0.25 if name == "generation" else 0.9)
    else:
        figures.save(path, drawn)
    return path
