"""Drawing images from a model, one sub-pixel after the other."""

from pixelrnn.sampling.incremental import Row

__all__ = ["Row"]
