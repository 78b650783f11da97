"""Models of images."""

from pixelrnn.models.pixel_rnn import PixelRNN

__all__ = ["PixelRNN"]
