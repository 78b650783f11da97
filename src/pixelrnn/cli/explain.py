"""`pixelrnn explain`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pixelrnn.cli.options import MODEL
from pixelrnn.explain import FIGURES, FigureName, StillFormat, draw
from pixelrnn.progress import track

MODELS = (
    f"A model of black and white images, whose gradients `influence` shows: {MODEL}. May be repeated; the first one \
also draws the digit of `generation`."
)


def explain(
    *figures: FigureName,
    out: Path = Path("figures"),
    still: Annotated[StillFormat, Parameter(name="--format")] = "png",
    model: Annotated[tuple[str, ...], Parameter(negative="", help=MODELS)] = ("mnist-class",),
) -> None:
    """Draw how a Row LSTM computes a row, and a Diagonal BiLSTM a diagonal: figures computed from the layers.

    Example: `pixelrnn explain context shift --format svg --out figures`

    Each figure is a file with its name. Figures of what happens in time are animated GIFs.

    Parameters
    ----------
    figures
        Which ones; all if none is named.
    out
        The folder to write them into.
    still
        The format of the figures that are not animated.
    """
    for name in track(figures or FIGURES, "drawing"):
        print(draw(name, out, models=model, still=still))
