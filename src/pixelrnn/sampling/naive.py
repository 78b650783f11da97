"""The usual sampler: one pass of the whole network for every sub-pixel.

It needs only the logits of a model, and serves as the reference: from the same noise, `pixelrnn.sampling` must draw the
same images.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from pixelrnn.likelihood import draw
from pixelrnn.randomness import Noise

Logits = Callable[[UInt8[Tensor, "B C H W"]], Float[Tensor, "B logits C H W"]]


@torch.no_grad()
def complete(
    logits: Logits,
    x: UInt8[Tensor, "B C H W"],
    known: Bool[Tensor, "B H W"],
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> UInt8[Tensor, "B C H W"]:
    """Draws the unknown pixels of x in the order of generation, each sub-pixel given all before it.

    ``logits`` maps images to logits. Other arguments as in `pixelrnn.sampling.rows`.
    """
    x = torch.where(known[:, None], x, 0)
    batch, channels, height, width = x.shape
    wanted = (~known).any(dim=0)  # unknown in at least one image
    noise = Noise(batch, generator=generator, device=x.device)
    for i in range(height):
        uniform = noise.row(width, channels)
        for j in range(width):
            for c in range(channels if wanted[i, j] else 0):
                # The rows below come later, so the model does not need them.
                at_pixel = logits(x[:, :, : i + 1])[:, :, c, i, j]
                drawn = draw(at_pixel, uniform[j, c], temperature=temperature)
                x[:, c, i, j] = torch.where(known[:, i, j], x[:, c, i, j], drawn)
    return x
