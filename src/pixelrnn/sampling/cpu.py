"""The steps in C++: a row runs without Python and without allocation, parallel over the batch."""

import weakref

import torch
from jaxtyping import Float
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.likelihood import logits_per_channel
from pixelrnn.ops import cpu
from pixelrnn.sampling.steps import RowOfImages
from pixelrnn.sampling.trace import Program


class Network:
    """See `pixelrnn.sampling.steps.Network`."""

    def __init__(self, program: Program, weights: list[tuple[Tensor, ...]], width: int, batch: int) -> None:
        assert cpu.library is not None
        self.program, self.like = program, weights[-1][0]
        is_double, scale = self.like.dtype == torch.float64, 2 / (program.levels - 1)
        self.network = cpu.library.pixelrnn_network(is_double, width, batch, scale, torch.get_num_threads())
        if self.network is None:
            raise MemoryError(f"not enough memory to sample {batch} images")
        weakref.finalize(self, cpu.library.pixelrnn_network_free, self.network)
        made, last = zip(program.steps, weights, program.kept, program.remembered, strict=True), program.steps[-1]
        for step, given, kept, is_remembered in made:
            state = *kept, is_remembered
            if step.kind == "input":
                cpu.call("network_input", self.network, len(step.sees), *kept)
            elif step.kind in ("relu", "concatenate"):
                cpu.call(f"network_{step.kind}", self.network, *step.reads, *state)
            elif step.kind in cpu.NUMBERS:
                hidden = given[3].shape[2]
                cpu.call("network_line_lstm", self.network, *step.reads, step.kind, *given, hidden, *state)
            else:
                x, plus = step.reads if len(step.reads) == 2 else (*step.reads, -1)
                # Split the logits by channel: level l of channel c is feature l·C + c.
                for c in range(program.channels) if step is last else [-1]:
                    part = slice(c, None, program.channels) if step is last else slice(None)
                    weight, bias = given[0][part].permute(2, 3, 1, 0), given[1][part]
                    rows, columns, _, out = weight.shape
                    cpu.call("network_conv", self.network, x, weight, bias, out, rows, columns, plus, c, *state)

    def row(self, given: RowOfImages) -> Float[Tensor, "W C B logits"]:
        """See `pixelrnn.sampling.steps.Network`."""
        channels, per_channel = self.program.channels, logits_per_channel(self.program.levels)
        logits = self.like.new_empty(*given.levels.shape, per_channel)
        arrays = given.levels, given.known, given.wanted, given.uniform, logits, given.condition
        if cpu.call("network_row", self.network, *arrays, channels, per_channel, given.temperature):
            raise InputError("the network returned logits that are NaN or infinite")
        return logits
