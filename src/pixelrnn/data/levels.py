"""Levels from numbers between 0 and 1, as other libraries load images."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pixelrnn.errors import InputError, check_number


def to_levels(x: Float[Tensor, "..."], levels: int) -> UInt8[Tensor, "..."]:
    """The levels 0 to K − 1 of intensities from 0 to 1, such as those of torchvision's ``ToTensor``.

    Intensity v first becomes round(255·v), the level in the image file, and then that level ·K // 256, as `data.levels`
    reduces it. So images have the same levels here and in the commands.

    Args:
        x: the intensities, of any shape.
        levels: K, from 2 to 256.

    Raises:
        InputError: an intensity is below 0, above 1 or NaN, as after ``Normalize``; or the number of levels is out of
            range.
    """
    check_number("levels", levels, least=2, most=256)
    if x.numel() and not (x.min() >= 0 and x.max() <= 1):  # NaN fails too
        found = f"from {x.min().item():.3g} to {x.max().item():.3g}"
        raise InputError(f"intensities are {found}, expected 0 to 1: omit transforms like Normalize")
    return ((x * 255).round().long() * levels // 256).to(torch.uint8)
