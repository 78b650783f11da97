"""The steps in C++: no allocation and no Python within a row, parallel over the batch."""

import torch
from jaxtyping import Float
from torch import Tensor

from pixelrnn.compiled import images_per_slice, operators
from pixelrnn.errors import InputError
from pixelrnn.likelihood import logits_per_channel
from pixelrnn.recurrence.compiled import layout
from pixelrnn.sampling.steps import RowOfImages
from pixelrnn.sampling.trace import Concatenate, LineLSTM, Program, Relu


class Network:
    """See `pixelrnn.sampling.steps.Network`."""

    def __init__(self, program: Program, weights: list[tuple[Tensor, ...]], width: int, batch: int) -> None:
        operators()  # loads the class, too
        self.program, self.like = program, weights[-1][0]
        kinds = torch.classes.pixelrnn
        kind = kinds.Float64Network if self.like.dtype == torch.float64 else kinds.Float32Network
        kept = [[*each] for each in program.kept]
        inputs = [[features, *kept[n]] for n, features in enumerate(program.features[: program.inputs])]
        self.network = kind(width, batch, inputs, 2 / (program.levels - 1), images_per_slice(batch))
        made = zip(program.steps, weights, kept[program.inputs :], program.remembered, strict=True)
        for step, given, *state in made:
            if isinstance(step, Relu):
                self.network.relu(step.x, *state)
            elif isinstance(step, Concatenate):
                self.network.concatenate(step.x, step.y, *state)
            elif isinstance(step, LineLSTM):
                _, *offsets = layout(step.lines)
                self.network.line_lstm(step.x, *(weight.contiguous() for weight in given), *offsets, *state)
            else:
                plus = -1 if step.y is None else step.y
                # The logits, divided by channels: level l of channel c is feature l·C + c.
                is_last = step is program.steps[-1]
                for c in range(program.channels) if is_last else [-1]:
                    part = slice(c, None, program.channels) if is_last else slice(None)
                    weight, bias = (each[part].contiguous() for each in given)
                    self.network.convolution(step.x, weight, bias, plus, c, *state)

    def row(self, given: RowOfImages) -> Float[Tensor, "W C B logits"]:
        """See `pixelrnn.sampling.steps.Network`."""
        per_channel = logits_per_channel(self.program.levels)
        logits = given.levels.new_empty((*given.levels.shape, per_channel), dtype=self.like.dtype)
        condition = None if given.condition is None else given.condition.contiguous()
        images = (given.levels, given.known, given.uniform, given.temperature, given.wanted)
        if not self.network.row(*images, logits, condition):
            raise InputError("the model gives logits that are not finite")
        return logits
