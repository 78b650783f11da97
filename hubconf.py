"""Entry points of `torch.hub`: `torch.hub.load` runs this file in a clone of the repository."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixelrnn.models import ImageModel

dependencies = ["huggingface_hub", "jaxtyping", "numpy", "PIL", "safetensors", "torch"]


def pretrained(name: str = "mnist-class") -> "ImageModel":
    """A trained model, in evaluation mode.

    Args:
        name: a model that comes with the package (`pixelrnn models` lists them), or ``owner/name`` on the Hugging Face
            Hub.
    """
    try:
        from pixelrnn.models import from_pretrained
    except ModuleNotFoundError as error:
        if error.name != "pixelrnn":
            raise
        sys.path.insert(0, str(Path(__file__).parent / "src"))  # the clone is not installed
        from pixelrnn.models import from_pretrained
    return from_pretrained(name)
