"""Images from every source, uint8 until the model."""

from pixelrnn.data.config import DataConfig, Mode
from pixelrnn.data.images import Batch, Images, SplitName
from pixelrnn.data.prepare import Data, describe, load, requantise

__all__ = ["Batch", "Data", "DataConfig", "Images", "Mode", "SplitName", "describe", "load", "requantise"]
