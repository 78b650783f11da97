"""The steps of a program in C++: no allocation and no Python within a row, parallel over the batch."""

import torch
from jaxtyping import Float
from torch import Tensor

from pixelrnn.compiled import images_per_slice, operators
from pixelrnn.errors import InputError
from pixelrnn.incremental.program import Concatenate, Convolution, Program, Relu, RowOfImages
from pixelrnn.likelihood import logits_per_channel
from pixelrnn.recurrence.compiled import layout


class Network:
    """See `pixelrnn.incremental.start`."""

    def __init__(self, program: Program, batch: int) -> None:
        operators()  # loads the class, too
        self.program, self.dtype = program, program.like.dtype
        kinds = torch.classes.pixelrnn
        kind = kinds.Float64Network if self.dtype == torch.float64 else kinds.Float32Network
        scale = 2 / (program.levels - 1)
        images = images_per_slice(batch)
        inputs = [[features, *program.kept(n)] for n, features in enumerate(program.features[: program.inputs])]
        self.network = kind(program.width, batch, inputs, scale, images)
        for n, (step, remembered) in enumerate(zip(program.steps, program.remembered(), strict=True)):
            kept = [*program.kept(n + program.inputs)]
            if isinstance(step, Relu):
                self.network.relu(step.x, kept, remembered)
            elif isinstance(step, Concatenate):
                self.network.concatenate(step.x, step.y, kept, remembered)
            elif isinstance(step, Convolution):
                plus = -1 if step.plus is None else step.plus
                # The logits, divided by channels: level l of channel c is feature l·C + c.
                is_last = step is program.steps[-1]
                for c in range(program.channels) if is_last else [-1]:
                    part = slice(c, None, program.channels) if is_last else slice(None)
                    weights = [step.weight[part].contiguous(), step.bias[part].contiguous()]
                    self.network.convolution(step.x, *weights, plus, c, kept, remembered)
            else:
                _, *offsets = layout(step.lines)
                tensors = (step.input_to_state, step.bias, step.state_to_state, step.initial)
                weights = [weight.contiguous() for weight in tensors]
                self.network.line_lstm(step.x, *weights, *offsets, kept, remembered)

    def row(self, given: RowOfImages) -> Float[Tensor, "W C B logits"]:
        """See `pixelrnn.incremental.Network`."""
        per_channel = logits_per_channel(self.program.levels)
        logits = given.levels.new_empty((*given.levels.shape, per_channel), dtype=self.dtype)
        condition = None if given.condition is None else given.condition.contiguous()
        images = (given.levels, given.known, given.uniform, given.temperature, given.wanted)
        if not self.network.row(*images, logits, condition):
            raise InputError("the model gives logits that are not finite")
        return logits
