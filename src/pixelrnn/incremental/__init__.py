"""The second motion of every layer: one position at a time, for sampling and completion.

Computing a whole map takes each layer over all positions. When positions are drawn one by one, every layer keeps what
later positions read, and computes at each position what has not been there before:

- a masked convolution sums the taps above for a whole row when that row begins, and at a position only those to the
  left and, up to the channel, the one in the centre;
- the Row LSTM, and the Diagonal BiLSTM's first direction, read the row above likewise for a whole row, and at a
  position its input and the state beside it;
- the Diagonal BiLSTM's mirror goes from right to left, and what it gives moves down one row: a row of it is scanned
  when the row of the image is complete, and serves the next.

So all positions of an image together cost about one forward pass, where passing the whole network at each of them costs
as many. Every layer adds its steps to a `Program` (its method ``incremental``); `start` carries them out, in PyTorch on
any device, or compiled. A position may be computed again, which replaces what it was: once for each channel, as R, then
G, then B become known.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from pixelrnn.backend import choose
from pixelrnn.errors import InputError
from pixelrnn.incremental import compiled, reference
from pixelrnn.incremental.program import Concatenate, Convolution, LineLSTM, Program, Relu, RowOfImages
from pixelrnn.likelihood import logits_per_channel

__all__ = ["Concatenate", "Convolution", "LineLSTM", "Network", "Program", "Relu", "RowOfImages", "start"]


@runtime_checkable
class Network(Protocol):
    """A program at work on a batch of images, of which it has seen the rows so far."""

    def row(self, given: RowOfImages) -> Float[Tensor, "W C B logits"]:
        """The next row, in the order of generation. What is not known is drawn, and written into ``given.levels``.

        Returns:
            The logits of every sub-pixel given all before it; not a number where they are not wanted.

        Raises:
            InputError: a wanted logit is no finite number.
        """


@torch.no_grad()
def start(program: Program, batch: int) -> Network:
    """Begins a batch of images.

    Compiled where `pixelrnn.backend.choose` says so; the reference otherwise.

    Raises:
        InputError: there are no images, the program does not end with the convolution that gives the logits, or the
            backend that was named cannot run.
    """
    if batch < 1:
        raise InputError(f"the batch must have at least 1 image, got {batch}")
    logits = program.channels * logits_per_channel(program.levels)
    if not program.steps or not isinstance(program.steps[-1], Convolution) or program.features[-1] != logits:
        raise InputError(f"a program ends with the convolution that gives the {logits} logits of a pixel")
    weights = [step.bias for step in program.steps if isinstance(step, Convolution | LineLSTM)]
    if choose(*weights) == "compiled":
        return compiled.Network(program, batch)
    return reference.Network(program, batch)
