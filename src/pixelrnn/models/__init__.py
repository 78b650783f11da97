"""Models of images."""

from pathlib import Path

from pixelrnn.models import pretrained
from pixelrnn.models.image_model import ImageModel
from pixelrnn.models.multi_scale import MultiScalePixelRNN
from pixelrnn.models.pixel_rnn import PixelRNN

__all__ = ["ImageModel", "MultiScalePixelRNN", "PixelRNN", "from_pretrained"]


def from_pretrained(name: str | Path, *, verify: bool = True) -> ImageModel:
    """Reads a model of any class; see `ImageModel.from_pretrained`."""
    kinds: list[type[ImageModel]] = [PixelRNN, MultiScalePixelRNN]
    return pretrained.load(kinds, name, verify=verify)
