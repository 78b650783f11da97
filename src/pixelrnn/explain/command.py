"""`pixelrnn explain`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pixelrnn.explain import FIGURES, FigureName, StillFormat, draw
from pixelrnn.files import check_output
from pixelrnn.progress import track


def explain(
    *figures: FigureName,
    out: Path = Path("figures"),
    still: Annotated[StillFormat, Parameter(name="--format")] = "png",
    model: Annotated[tuple[str, ...], Parameter(negative="")] = ("mnist-diagonal-1x32",),
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
        Whose gradients `influence` shows, may be repeated: a run folder, the folder of an exported model, a model that
        comes with the package, or one on the Hugging Face Hub. The first one draws the digit of `generation`.
    """
    chosen = figures or FIGURES
    check_output(out / "figure")
    for path in [draw(name, out, models=model, still=still) for name in track(chosen, "drawing")]:
        print(path)
