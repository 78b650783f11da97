"""Pixel Recurrent Neural Networks (van den Oord et al., 2016) in PyTorch."""

from pixelrnn.errors import InputError
from pixelrnn.models import MultiScalePixelRNN, PixelRNN

__all__ = ["InputError", "MultiScalePixelRNN", "PixelRNN"]
