"""The steps of a program in C++: no allocation and no Python within a row, parallel over the batch."""

from itertools import chain

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from pixelrnn.compiled import operators
from pixelrnn.incremental.program import Convolution, LineLSTM, Program, Relu
from pixelrnn.likelihood import logits_per_channel

# The images that a thread carries: few enough that what it keeps of a row stays in its cache.
MOST_IMAGES = 32


class Network:
    """See `pixelrnn.incremental.start`."""

    def __init__(self, program: Program, batch: int, dtype: torch.dtype) -> None:
        operators()  # loads the class, too
        self.program, self.dtype = program, dtype
        threads = torch.get_num_threads()
        rounds = max(1, -(-batch // (threads * MOST_IMAGES)))
        images = max(1, -(-batch // (threads * rounds)))
        scale = 2 / (program.levels - 1)
        self.network = torch.classes.pixelrnn.Incremental(
            program.width, batch, program.channels, scale, images, dtype == torch.float64, [*program.kept(0)]
        )
        for n, (step, remembered) in enumerate(zip(program.steps, program.remembered(), strict=True)):
            kept = [*program.kept(n + 1)]
            if isinstance(step, Relu):
                self.network.relu(step.x, kept, remembered)
            elif isinstance(step, Convolution):
                plus = -1 if step.plus is None else step.plus
                weights = step.weight.detach().contiguous(), step.bias.detach().contiguous()
                self.network.convolution(step.x, *weights, plus, kept, remembered)
            else:
                self._line_lstm(step, kept, remembered)

    def _line_lstm(self, step: LineLSTM, kept: list[int], remembered: bool) -> None:
        weights = (step.input_to_state, step.bias, step.state_to_state, step.initial)
        lines = step.lines
        inputs, taps = ([*chain(*chain(*offsets))] for offsets in (lines.inputs, lines.taps))
        self.network.line_lstm(
            step.x,
            *(weight.detach().contiguous() for weight in weights),
            *(inputs, taps, [*chain(*lines.outputs)], lines.cell, kept, remembered),
        )

    def row(
        self,
        levels: UInt8[Tensor, "W C B"],
        known: Bool[Tensor, "W B"],
        uniform: Float[Tensor, "W C B"],
        temperature: float,
        wanted: Bool[Tensor, " W"],
    ) -> Float[Tensor, "W C B logits"]:
        """See `pixelrnn.incremental.Network`."""
        per_channel = logits_per_channel(self.program.levels)
        logits = torch.full((*levels.shape, per_channel), torch.nan, dtype=self.dtype)
        self.network.row(levels, known, wanted, uniform, temperature, logits)
        return logits
