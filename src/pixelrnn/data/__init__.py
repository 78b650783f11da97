"""Images from every source, uint8 until the model."""

from pixelrnn.data.config import DataConfig
from pixelrnn.data.images import Images, SplitName
from pixelrnn.data.prepare import Data, load, requantise

__all__ = ["Data", "DataConfig", "Images", "SplitName", "load", "requantise"]
