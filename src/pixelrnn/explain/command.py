"""`pixelrnn explain`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pixelrnn.explain import FIGURES, FigureName, StillFormat, draw
from pixelrnn.progress import track


def explain(
    *figures: FigureName,
    out: Path = Path("figures"),
    still: Annotated[StillFormat, Parameter(name="--format")] = "png",
    model: Annotated[tuple[str, ...], Parameter(negative="")] = ("mnist-class",),
) -> None:
    """Draw how a Row LSTM computes a row, and a Diagonal BiLSTM a diagonal: figures computed from the layers.

    Example: `pixelrnn explain context shift --format svg --out figures`

    Each figure is a file with its name. The ones of what happens in time are animated GIFs.

    Parameters
    ----------
    figures
        Which ones; all if none is named.
    out
        The folder to write them into.
    still
        Of the figures that are not animated.
    model
        Of black and white images, whose gradients `influence` shows; may be repeated. The first one also draws the
        digit of `generation`. A run folder, the folder of an exported model, a model that comes with the package, or
        one on the Hugging Face Hub.
    """
    for name in track(figures or FIGURES, "drawing"):
        print(draw(name, out, models=model, still=still))
