"""Images from every source, as uint8 tensors."""

from typing import TYPE_CHECKING

from pixelrnn.data.config import DataConfig, Mode, SplitName

if TYPE_CHECKING:
    from pixelrnn.data.images import Batch, Images, requantise
    from pixelrnn.data.levels import to_levels
    from pixelrnn.data.prepare import Data, copies, describe, load
else:

    def __getattr__(name: str) -> object:  # only the configuration does without PyTorch, see pixelrnn/__init__.py
        if name not in __all__:
            raise AttributeError(f"module 'pixelrnn.data' has no attribute {name!r}")
        from pixelrnn.data import images, levels, prepare

        homes = {"Batch": images, "Images": images, "requantise": images, "to_levels": levels}
        return getattr(homes.get(name, prepare), name)


__all__ = [
    "Batch",
    "Data",
    "DataConfig",
    "Images",
    "Mode",
    "SplitName",
    "copies",
    "describe",
    "load",
    "requantise",
    "to_levels",
]
