"""`pixelrnn demo`."""

import os
import socket
import threading
from typing import Annotated

from cyclopts import Parameter

from pixelrnn.cli.options import MODEL
from pixelrnn.errors import InputError, check_number, extra, input_error


def demo(
    model: Annotated[str, Parameter(help=f"A model of grey images: {MODEL}.")] = "mnist-class", *, port: int = 7860
) -> None:
    """Serve a page to play with: completions, samples, and what a pixel sees through each kind of layer.

    Example: `pixelrnn demo --port 8000`

    The page is for the browser of this machine, and asks nothing of any other. Ctrl-C stops.

    Parameters
    ----------
    port
        The port of 127.0.0.1 to serve the page on.
    """
    check_number("--port", port, least=1, most=2**16 - 1)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Gradio reads it when it is imported
    with extra("demo", wanted_by="pixelrnn demo"):
        from pixelrnn.demo.page import page, serve
    from pixelrnn import models

    with input_error(f"cannot listen on --port {port}", OSError):
        socket.create_server(("127.0.0.1", port)).close()
    loaded = models.from_pretrained(model)
    if loaded.channels != 1 or loaded.size is None:
        raise InputError(f"{model} is no model of grey images of one size")
    blocks = page(loaded, model)
    serve(blocks, port)
    try:
        print(f"http://127.0.0.1:{port} until Ctrl-C", flush=True)
        threading.Event().wait()
    finally:
        blocks.close(verbose=False)
