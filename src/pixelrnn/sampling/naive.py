"""The sampler as it is usually written: one pass of the whole network for every sub-pixel.

It needs nothing of a model but its logits, and is what any faster sampler must agree with.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from pixelrnn.likelihood import draw

Logits = Callable[[UInt8[Tensor, "B C H W"]], Float[Tensor, "B logits C H W"]]


@torch.no_grad()
def complete(
    logits: Logits,
    x: UInt8[Tensor, "B C H W"],
    known: Bool[Tensor, "B C H W"],
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    on_row: Callable[[int], None] | None = None,
) -> UInt8[Tensor, "B C H W"]:
    """Draws the unknown sub-pixels of x in the order of generation, each given all before it.

    A known pixel that comes later cannot inform an earlier draw: what is drawn follows p(x_i | x_<i), not the
    conditional of the whole image.

    Args:
        logits: the model, uint8 images to logits.
        x: images; where they are not known their values are ignored.
        known: which sub-pixels are kept.
        temperature: divides the log-probabilities of every draw.
        generator: source of the uniform numbers, one for each image at each sub-pixel that is not known in all images.
        on_row: called with the row's index when a row is complete.
    """
    x = torch.where(known, x, 0)
    _, channels, height, width = x.shape
    wanted = (~known).any(dim=0)  # in at least one image
    for i in range(height):
        for j in range(width):
            for c in range(channels):
                if wanted[c, i, j]:
                    # The rows below come later: the model need not be asked about them.
                    at_pixel = logits(x[:, :, : i + 1])[:, :, c, i, j]
                    drawn = draw(at_pixel, temperature=temperature, generator=generator)
                    x[:, c, i, j] = torch.where(known[:, c, i, j], x[:, c, i, j], drawn)
        if on_row is not None:
            on_row(i)
    return x
