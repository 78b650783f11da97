"""Masks A and B (paper §3.4). Only this module decides which values a convolution may see.

The order of generation is rows top to bottom, pixels left to right, channels R, G, B inside a pixel. A masked
convolution computes the output at one pixel from

- the taps **before** the centre in that order: every feature is open;
- the **centre** tap, the pixel itself: open from an input feature of channel a to an output feature of channel b iff
  a < b (mask A) or a ≤ b (mask B);
- the taps **after** the centre: every feature is closed.

Feature k of a map belongs to channel k mod C. So any number of features from C up works, and a residual sum adds
features of the same channel.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pixelrnn.errors import InputError

MaskType = Literal["A", "B"]


def feature_channels(features: int, channels: int, maps: int = 1) -> Int[Tensor, " features"]:
    """The image channel of each of ``features`` features: k mod C, counted from 0 in each of ``maps`` equal maps.

    For example, the gates of an LSTM are four maps of h features. Counting through all 4h would leak across channels.

    Raises:
        InputError: ``features`` is not a multiple of ``maps``, a map has fewer features than channels, or ``channels``
            or ``maps`` is below 1.
    """
    if channels < 1 or maps < 1:
        raise InputError(f"channels is {channels} and maps is {maps}, expected at least 1")
    if features % maps:
        raise InputError(f"{features} features cannot be divided into {maps} equal maps")
    if (each := features // maps) < channels:
        raise InputError(f"a map of {each} features cannot hold {channels} channels: use at least {channels}")
    return (torch.arange(each) % channels).repeat(maps)


def mask(
    mask_type: MaskType,
    in_features: int,
    out_features: int,
    kernel_size: tuple[int, int],
    *,
    channels: int = 1,
    maps: int = 1,
) -> Float[Tensor, "out_features in_features kernel_height kernel_width"]:
    """Mask A or B for the weight of a convolution: 1 where open, 0 where closed (§3.4).

    Args:
        mask_type: ``"A"`` hides the output's own channel, ``"B"`` shows it.
        in_features: features of the input map, at least ``channels``.
        out_features: features of the output: ``maps`` equal maps with at least ``channels`` features each.
        kernel_size: (height, width), both odd.
        channels: image channels C.
        maps: number of equal maps in the output, such as the four gates of an LSTM.

    Raises:
        InputError: an unknown mask type, an even kernel, or too few features for the channels.
    """
    height, width = kernel_size
    if mask_type not in ("A", "B"):
        raise InputError(f"unknown mask type {mask_type!r}: expected 'A' or 'B'")
    if height % 2 == 0 or width % 2 == 0 or min(height, width) < 1:
        raise InputError(f"kernel_size is {height}×{width}, expected odd numbers of at least 1")

    # docs: begin mask
    a = feature_channels(in_features, channels)[None, :]
    b = feature_channels(out_features, channels, maps)[:, None]
    centre = a < b if mask_type == "A" else a <= b

    open_taps = torch.zeros(out_features, in_features, height, width)
    open_taps[:, :, : height // 2, :] = 1  # the rows above
    open_taps[:, :, height // 2, : width // 2] = 1  # the pixels to the left
    open_taps[:, :, height // 2, width // 2] = centre.to(open_taps.dtype)
    # docs: end mask
    return open_taps
