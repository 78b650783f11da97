"""The commands that explain a model: a page to play with it, and figures."""

import os
import socket
import threading
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pixelrnn.cli import options
from pixelrnn.cli.commands import app
from pixelrnn.errors import InputError, check_number, extra, input_error
from pixelrnn.explain import FIGURES, FigureName, StillFormat, draw, place
from pixelrnn.progress import track


@app.command
def demo(model: options.ModelName = "mnist-class", *, port: int = 7860) -> None:
    """Serve a web page to play with a model: completions, samples, and the pixels that each kind of layer sees.

    Example: `pixelrnn demo --port 8000`

    Only browsers on this machine can open the page, and it loads nothing from other machines. Ctrl-C stops the server.

    Args:
        port: The port on 127.0.0.1 that serves the page.
    """
    check_number("--port", port, least=1, most=2**16 - 1)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Gradio reads it when it is imported
    with extra("demo", wanted_by="pixelrnn demo"):
        from pixelrnn.demo.page import page, serve
    from pixelrnn import models

    with input_error(f"cannot listen on port {port}, choose another --port", OSError):
        socket.create_server(("127.0.0.1", port)).close()
    loaded = models.from_pretrained(model)
    if loaded.channels not in (1, 3) or loaded.size is None:
        found = f"channels {loaded.channels}, size {loaded.size}"
        raise InputError(f"{model}: {found}, expected 1 or 3 channels and a size")
    blocks = page(loaded, model)
    serve(blocks, port)
    try:
        print(f"http://127.0.0.1:{port} until Ctrl-C", flush=True)
        threading.Event().wait()
    finally:
        blocks.close(verbose=False)


@app.command
def explain(
    *figures: FigureName,
    out: Path = Path("figures"),
    still: Annotated[StillFormat, Parameter(name="--format")] = "png",
    model: options.ModelNames = ("mnist-class",),
    overwrite: options.Overwrite = False,
) -> None:
    """Draw how a Row LSTM computes a row and a Diagonal BiLSTM a diagonal. The layers themselves compute the figures.

    Example: `pixelrnn explain context shift --format svg --out figures`

    Each figure is written to a file with the name of the figure. Figures that show several steps are animated GIFs.

    Args:
        figures: The figures to draw. Default: all of them.
        out: The folder to write the figures into.
        still: The file format of the figures that are not animated.
    """
    from pixelrnn.cli import outputs

    for name in figures or FIGURES:
        path = place(name, out, still=still)
        outputs.check_new(path, "--out", path.suffix, overwrite=overwrite)
    for name in track(figures or FIGURES, "drawing"):
        print(draw(name, out, models=model, still=still))
