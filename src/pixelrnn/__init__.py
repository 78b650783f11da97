"""Pixel Recurrent Neural Networks (van den Oord et al., 2016) in PyTorch."""

from typing import TYPE_CHECKING

from pixelrnn.errors import InputError, extra

__version__ = "0.1.0"  # the only place that states it: pyproject.toml reads it from here

if TYPE_CHECKING:
    from pixelrnn.models import MultiScalePixelRNN, PixelRNN
    from pixelrnn.training.in_python import fit
else:

    def __getattr__(name: str) -> object:  # PyTorch takes two seconds to import, and `pixelrnn --help` needs none of it
        if name not in __all__:
            raise AttributeError(f"module 'pixelrnn' has no attribute {name!r}")
        if name == "fit":  # the only one that needs an extra
            with extra("train", wanted_by="pixelrnn.fit"):
                from pixelrnn.training.in_python import fit
            return fit
        from pixelrnn import models

        return getattr(models, name)


__all__ = ["InputError", "MultiScalePixelRNN", "PixelRNN", "__version__", "fit"]
