"""Draws images from a network, one sub-pixel after the other, for about the cost of one forward pass.

The network is any module composed of the layers of `pixelrnn.nn`. `trace` turns its ``forward`` into steps;
`reference` (in PyTorch), `cuda` (the same, as CUDA graphs) or `cpu` (in C++) computes these position by position.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from pixelrnn.errors import check_number
from pixelrnn.likelihood import logits_per_channel
from pixelrnn.randomness import Noise
from pixelrnn.sampling.batch import begin, blank_images, check_images, device_of
from pixelrnn.sampling.choosing import Step, runs, steps
from pixelrnn.sampling.cpu import Run

__all__ = ["Row", "Run", "Step", "complete", "rows", "runs", "sample", "steps"]


@dataclass(frozen=True)
class Row:
    """A complete row of all images."""

    index: int
    pixels: UInt8[Tensor, "B C W"]
    logits: Float[Tensor, "B logits C W"]
    """The logits that each sub-pixel was drawn from, before division by the temperature; NaN in columns that are known
    in all images."""


def sample(
    network: nn.Module, n: int, *, size: tuple[int, int], channels: int = 1, **options: Any
) -> UInt8[Tensor, "n C H W"]:
    """Draws n images, on the device and in the precision of the network's weights.

    Args:
        network: as in `rows`.
        n: number of images.
        size: (height, width) of the images.
        channels: image channels C.
        options: ``levels``, ``condition``, ``temperature``, ``generator``, ``method`` and ``on_row``, as in `complete`.

    Raises:
        InputError: n, the size or the channels are not whole numbers of at least 1; or as in `rows`.
    """
    return complete(network, *blank_images(n, channels, size, device_of(network)), **options)


def complete(
    network: nn.Module,
    x: UInt8[Tensor, "B C H W"],
    known: Bool[Tensor, "*B H W"],
    *,
    on_row: Callable[[Row], None] | None = None,
    **options: Any,
) -> UInt8[Tensor, "B C H W"]:
    """Draws the unknown pixels of x in the order of generation and keeps the known ones.

    Calls ``on_row`` with each row of all images once it is complete. Other arguments and errors as in `rows`.
    """
    completed = torch.empty_like(x)
    for row in rows(network, x, known, **options):
        completed[:, :, row.index] = row.pixels
        if on_row is not None:
            on_row(row)
    return completed


def rows(
    network: nn.Module,
    x: UInt8[Tensor, "B C H W"],
    known: Bool[Tensor, "*B H W"],
    *,
    levels: int = 256,
    condition: Float[Tensor, "B c H W"] | None = None,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    forced: bool = False,
    method: str = "forward",
) -> Iterator[Row]:
    """Draws the unknown pixels of x in the order of generation. Each row of all images is drawn when it is asked for.

    A known pixel cannot inform earlier draws: each pixel is drawn from p(x_i | x_<i), not given all known pixels.
    Columns that are known in all images are cheap: only what later positions read is computed, and for neighbouring
    columns at once.

    Args:
        network: maps intensities (B, C, H, W), scaled to [-1, 1], to logits (B, K, C, H, W), or to (B, 1, C, H, W) if
            K = 2. It may use the layers of `pixelrnn.nn`, additions, `torch.cat` of features, ReLU, 1×1 convolutions of
            the condition, and dropout, which sampling skips.
        x: images; the values of unknown pixels are ignored.
        known: mask of the pixels to keep: (H, W) for all images, or (B, H, W).
        levels: intensity levels K per channel, 2 to 256.
        condition: a map, the second argument of the network, if it takes one.
        temperature: divides the logits of every draw; 1 samples the distribution of the network.
        generator: source of the noise. The first images of a larger batch get the same noise (`pixelrnn.randomness`).
        forced: draw nothing, and take the unknown pixels from x too (teacher forcing): for their logits.
        method: name of the network's method that returns the logits.

    Raises:
        InputError: an argument is out of range, has a wrong shape or type, or is on another device than the weights; an
            operation of the network cannot be computed position by position; its logits are NaN or infinite.
    """
    check_number("temperature", temperature, above=0, below=math.inf, whole=False)
    batch = begin(network, x, known, levels, condition, method)
    if forced:
        check_images(x, levels)
    noise = None if forced else Noise(len(x), generator=generator, device=x.device)
    for i in range(x.shape[2]):
        if noise is None:
            row = batch.row(i, x.new_zeros(x.shape[3], x.shape[1], len(x), dtype=torch.float64))
            row = replace(row, known=torch.ones_like(row.known))
        else:
            row = batch.row(i, noise.row(x.shape[3], x.shape[1]), temperature)
        if i < batch.drawn_rows:
            logits = batch.network.row(row).permute(2, 3, 1, 0)
        else:  # no draw depends on this row
            logits = batch.network.like.new_full(
                (len(x), logits_per_channel(levels), *row.levels.shape[1::-1]), torch.nan
            )
        yield Row(i, row.levels.permute(2, 1, 0), logits)
