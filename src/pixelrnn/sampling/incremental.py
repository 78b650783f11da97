"""Drawing images row by row, each position computed once."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from pixelrnn.incremental import Program, RowOfImages, start
from pixelrnn.likelihood import logits_per_channel
from pixelrnn.randomness import uniform_row


@dataclass(frozen=True)
class Row:
    """A row of all images that is complete."""

    index: int
    pixels: UInt8[Tensor, "B C W"]
    logits: Float[Tensor, "B logits C W"]
    """What every sub-pixel was drawn from, given all before it, before the temperature divides it; not a number in
    columns that all images know."""


def complete(
    program: Program,
    x: UInt8[Tensor, "B C H W"],
    known: Bool[Tensor, "B H W"],
    *,
    condition: Float[Tensor, "B c H W"] | None = None,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Iterator[Row]:
    """Draws the unknown pixels of x in the order of generation, and gives row after row.

    A known pixel that comes later cannot inform an earlier draw: what is drawn follows p(x_i | x_<i), not the
    conditional of the whole image. Columns of a row that all images know cost only what later positions read of them,
    and neighbours among them are computed together.

    Args:
        program: of the model, for the images' size.
        x: images; where they are not known their values are ignored.
        known: which pixels are kept.
        condition: the map that the program is conditioned on, if it is.
        temperature: divides the log-probabilities of every draw.
        generator: source of the noise, `pixelrnn.randomness.uniform_row` for each row.

    Raises:
        InputError: the model gives logits that are not finite.
    """
    batch, channels, height, width = x.shape
    network = start(program, batch)
    # Positions outermost: (H, W, C, B), (H, W, B) and, where something is to be drawn, (H, W).
    levels = x.permute(2, 3, 1, 0).clone(memory_format=torch.contiguous_format)
    known = known.permute(1, 2, 0).contiguous()
    wanted = ~known.all(dim=2)
    drawn_rows = int(wanted.any(dim=1).nonzero().max()) + 1 if wanted.any() else 0
    nothing = program.like.new_full((batch, logits_per_channel(program.levels), channels, width), torch.nan)
    for i in range(height):
        uniform = uniform_row(width, channels, batch, generator=generator, device=x.device)
        logits = nothing
        if i < drawn_rows:  # nothing depends on the rows below
            given = None if condition is None else condition[:, :, i].permute(2, 0, 1)
            row = RowOfImages(levels[i], known[i], uniform, wanted[i], temperature, given)
            logits = network.row(row).permute(2, 3, 1, 0)
        yield Row(i, levels[i].permute(2, 1, 0), logits)
