"""The steps in C++: no allocation and no Python within a row, parallel over the batch."""

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
            raise MemoryError(f"no memory for {batch} images")
        weakref.finalize(self, cpu.library.pixelrnn_network_free, self.network)
        for features, kept in zip(program.features[: program.inputs], program.kept, strict=False):
            cpu.call("network_input", self.network, features, *kept)
        made = zip(program.steps, weights, program.kept[program.inputs :], program.remembered, strict=True)
        for step, given, kept, is_remembered in made:
            state = *kept, is_remembered
            if step.kind == "relu":
                cpu.call("network_relu", self.network, step.x, *state)
            elif step.kind == "concatenate":
                cpu.call("network_concatenate", self.network, step.x, step.y, *state)
            elif step.kind in cpu.NUMBERS:
                hidden = given[3].shape[2]
                cpu.call("network_line_lstm", self.network, step.x, cpu.NUMBERS[step.kind], *given, hidden, *state)
            else:
                # The logits, divided by channels: level l of channel c is feature l·C + c.
                is_last, plus = step is program.steps[-1], -1 if step.y is None else step.y
                for c in range(program.channels) if is_last else [-1]:
                    part = slice(c, None, program.channels) if is_last else slice(None)
                    weight, bias = given[0][part].permute(2, 3, 1, 0), given[1][part]
                    rows, columns, _, out = weight.shape
                    sizes = out, rows, columns, plus, c
                    cpu.call("network_conv", self.network, step.x, weight, bias, *sizes, *state)

    def row(self, given: RowOfImages) -> Float[Tensor, "W C B logits"]:
        """See `pixelrnn.sampling.steps.Network`."""
        channels, per_channel = self.program.channels, logits_per_channel(self.program.levels)
        logits = self.like.new_empty(*given.levels.shape, per_channel)
        arrays = given.levels, given.known, given.wanted, given.uniform, logits, given.condition
        if cpu.call("network_row", self.network, *arrays, channels, per_channel, given.temperature):
            raise InputError("the model gives logits that are not finite")
        return logits
