"""The steps in C++: a row runs without Python and without allocation, parallel over the batch."""

import weakref
from collections.abc import Iterator
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.likelihood import logits_per_channel
from pixelrnn.ops import cpu
from pixelrnn.sampling.program import Program
from pixelrnn.sampling.reference import RowOfImages


class Network:
    """See `pixelrnn.sampling.reference.Network`."""

    def __init__(self, program: Program, weights: list[tuple[Tensor, ...]], width: int, batch: int) -> None:
        assert cpu.library is not None
        self.program, self.like = program, weights[-1][0]
        is_double, scale = self.like.dtype == torch.float64, 2 / (program.levels - 1)
        sizes = is_double, width, batch, program.channels
        self.network = cpu.library.pixelrnn_network(*sizes, scale, torch.get_num_threads())
        if self.network is None:
            raise MemoryError(f"not enough memory to sample {batch} images")
        weakref.finalize(self, cpu.library.pixelrnn_network_free, self.network)
        made = zip(program.steps, weights, program.stages, program.kept, program.remembered, strict=True)
        for step, given, stages, kept, is_remembered in made:
            state, known = (*kept, is_remembered), torch.tensor(stages.known)
            if step.kind == "input":
                cpu.call("network_input", self.network, known, *kept)
            elif step.kind in ("relu", "concatenate"):
                cpu.call(f"network_{step.kind}", self.network, *step.reads, *state)
            elif step.kind in cpu.NUMBERS:
                cpu.call("network_line_lstm", self.network, *step.reads, step.kind, *given, known, *state)
            else:
                x, plus = step.reads if len(step.reads) == 2 else (*step.reads, -1)
                weight, bias = given[0].permute(2, 3, 1, 0), given[1]
                added = None if plus < 0 else program.stages[plus].places(stages)
                how = bias, known, *weight.shape[:2], plus, added
                cpu.call("network_conv", self.network, x, weight, *how, *state)

    def positions(self, given: RowOfImages) -> Iterator[tuple[int, int, Float[Tensor, "B logits"]]]:
        """See `pixelrnn.sampling.reference.Network`."""
        levels, wanted = given.levels, given.wanted.contiguous()
        condition = None if given.condition is None else given.condition.contiguous()
        cpu.call("network_begin", self.network, levels, wanted, condition)
        sub_pixels = [*product(wanted.nonzero().flatten().tolist(), range(self.program.channels))]
        row = self.like.new_empty(len(sub_pixels), levels.shape[2], logits_per_channel(self.program.levels))
        address, stride = row.data_ptr(), row[:1].nbytes
        assert cpu.library is not None
        compute = cpu.library.pixelrnn_network_next  # `cpu.call` takes longer than a small network
        for (j, c), logits in zip(sub_pixels, row.unbind(), strict=True):
            if cpu.check(compute(self.network, address)):
                raise InputError("the network returned logits that are NaN or infinite")
            yield j, c, logits
            address += stride
        cpu.call("network_next", self.network, None)  # to the end of the row

    def row(self, given: RowOfImages) -> Float[Tensor, "W C B logits"]:
        """See `pixelrnn.sampling.reference.Network`."""
        logits = self.like.new_empty(*given.levels.shape, logits_per_channel(self.program.levels))
        arrays = given.levels, given.known, given.wanted, given.uniform, logits, given.condition
        if cpu.call("network_row", self.network, *arrays, given.temperature):
            raise InputError("the network returned logits that are NaN or infinite")
        return logits
