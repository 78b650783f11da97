"""`pixelrnn demo`."""

import os
import socket
import threading
from importlib.util import find_spec

from pixelrnn import models
from pixelrnn.errors import InputError


def demo(model: str = "mnist-class", *, port: int = 7860) -> None:
    """Serve a page to play with: completions, samples, and what a pixel sees through each kind of layer.

    Example: `pixelrnn demo --port 8000`

    The page is for the browser of this machine, and asks nothing of any other. Ctrl-C stops.

    Parameters
    ----------
    model
        Of grey images: a run folder, the folder of an exported model, a model that comes with the package, or one on
        the Hugging Face Hub.
    port
        Of 127.0.0.1, where the page is.
    """
    if not 1 <= port < 2**16:
        raise InputError(f"--port must be from 1 to {2**16 - 1}, got {port}")
    if find_spec("gradio") is None:
        raise InputError("pixelrnn demo needs Gradio: pip install 'pixelrnn[demo]'")
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise InputError(f"--port {port} is in use, or not for us: choose another") from error
    loaded = models.from_pretrained(model)
    if loaded.channels != 1 or loaded.size is None:
        raise InputError(f"{model} is no model of grey images of one size")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # which Gradio reads, and so it comes before its import
    from pixelrnn.demo.page import page, serve

    blocks = page(loaded, model)
    serve(blocks, port)
    try:
        print(f"http://127.0.0.1:{port} until Ctrl-C", flush=True)
        threading.Event().wait()
    finally:
        blocks.close(verbose=False)
