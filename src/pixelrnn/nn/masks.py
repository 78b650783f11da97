"""Masks A and B (paper §3.4): the only place that decides who may see whom.

The order of generation is rows top to bottom, pixels left to right, channels R, G, B inside a pixel. A masked
convolution computes the output at one pixel from

- the taps **before** the centre in that order: every feature is open;
- the **centre** tap, the pixel itself: open from an input feature of channel a to an output feature of channel b iff
  a < b (mask A) or a ≤ b (mask B);
- the taps **after** the centre: every feature is closed.

Feature k of a map belongs to channel k mod C, so any count from C up can be used and residual sums meet like with like.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pixelrnn.errors import InputError

MaskType = Literal["A", "B"]


def feature_channels(features: int, channels: int, maps: int = 1) -> Int[Tensor, " features"]:
    """The image channel of each of ``features`` features: k mod C, counted from 0 in each of ``maps`` equal maps.

    The four gates of an LSTM, say, are four maps of h features; counting through all 4h would leak across channels.

    Raises:
        InputError: ``features`` is no multiple of ``maps``, a map has fewer features than there are channels, or there
            is no channel or map at all.
    """
    if channels < 1 or maps < 1:
        raise InputError(f"there must be at least one channel and one map, got {channels} and {maps}")
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
        mask_type: ``"A"``, blind to the channel itself, or ``"B"``, which sees it.
        in_features: features of the input map, at least ``channels``.
        out_features: features of the output, ``maps`` equal maps of at least ``channels`` each.
        kernel_size: (height, width), both odd.
        channels: image channels C.
        maps: equal maps that the output features form, the gates of an LSTM for instance.

    Raises:
        InputError: an unknown mask type, an even kernel, or too few features for the channels.
    """
    height, width = kernel_size
    if mask_type not in ("A", "B"):
        raise InputError(f"unknown mask type {mask_type!r}: expected 'A' or 'B'")
    if height % 2 == 0 or width % 2 == 0 or min(height, width) < 1:
        raise InputError(f"a masked convolution needs an odd kernel with a centre, got {height}×{width}")

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
