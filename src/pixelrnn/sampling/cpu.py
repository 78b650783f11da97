"""The steps in C++: a row runs without Python and without allocation, parallel over the batch."""

import weakref
from collections.abc import Iterator
from ctypes import byref, c_int64
from itertools import groupby, product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from pixelrnn.errors import InputError, input_error
from pixelrnn.likelihood import logits_per_channel
from pixelrnn.ops import cpu
from pixelrnn.sampling.program import Program
from pixelrnn.sampling.reference import RowOfImages

LONGEST = 2**16  # logits of a run, but at least those of one sub-pixel


class Run:
    """Neighbouring sub-pixels of a row of all images, whose levels the caller chooses.

    The level of each sub-pixel but the last is guessed: it is the likeliest. The logits of a sub-pixel are right if all
    guesses before it are right. The sub-pixels of all runs follow each other in the order of `pixelrnn.sampling.steps`.
    """

    __slots__ = "_levels", "held", "logits"

    def __init__(self, logits: Tensor, levels: NDArray[np.uint8]) -> None:
        self.logits: Float[Tensor, "n B logits"] = logits
        """They change when the generator goes on."""
        self._levels, self.held = levels, 0  # held: the number of sub-pixels that have their level

    def set(self, levels: "NDArray[np.integer[Any]] | Tensor") -> int:
        """Chooses the levels of the first m sub-pixels, whole numbers (m, B), once, before the generator goes on.

        They must be from 0 to K − 1, which is not checked.

        Returns:
            The number of sub-pixels that now have a level: those up to the first with a wrong guess, or all m. The next
            run begins after them.

        Raises:
            InputError: levels of another shape or type; or the run has its levels.
        """
        if self.held:  # a guess that was wrong is overwritten, so it would seem right
            raise InputError("the run has its levels: set them once, before you ask for the next run")
        with input_error("levels must be an array of whole numbers", ValueError, TypeError, RuntimeError):
            given = np.asarray(levels)
        n, images = self._levels.shape
        m = given.shape[0] if given.ndim == 2 else 0
        if not (0 < m <= n and given.shape[1] == images and given.dtype.kind in "iu"):
            wanted = f"whole numbers (m, {images}) for m from 1 to {n}"
            raise InputError(f"levels: {given.dtype} array {given.shape}, expected {wanted}")
        # For so few numbers, NumPy is far faster than PyTorch.
        given = given.astype(np.uint8)
        if m > 1 and given[:-1].tobytes() != (guessed := self._levels[: m - 1]).tobytes():
            m = 1 + int((given[:-1] != guessed).any(axis=1).argmax())
        self._levels[:m] = given[:m]
        self.held = m
        return m


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
        per_channel = logits_per_channel(program.levels)
        longest = max(1, min(width * program.channels, LONGEST // (batch * per_channel)))
        self.logits = self.like.new_empty(longest, batch, per_channel)  # of a run
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
        wanted, channels = given.wanted.nonzero().flatten().tolist(), range(self.program.channels)
        for (j, c), run in zip(product(wanted, channels), self.runs(given, sure=None), strict=True):
            yield j, c, run.logits[0].clone()
            run.held = 1

    def runs(self, given: RowOfImages, sure: float | None) -> Iterator[Run]:
        """Computes the next row. Yields runs of neighbouring sub-pixels of wanted columns.

        All guesses of a run are right with a probability of at least ``sure``; without it, a run is one sub-pixel.

        Raises:
            InputError: a logit is NaN or infinite, or a run was not set.
        """
        assert cpu.library is not None
        compute, n = cpu.library.pixelrnn_network_next, c_int64()  # `cpu.call` takes longer than a small network
        channels, wanted = self.program.channels, given.wanted.contiguous()
        condition = None if given.condition is None else given.condition.contiguous()
        cpu.call("network_begin", self.network, given.levels, wanted, condition)
        levels, longest = given.levels.flatten(0, 1).numpy(), 1 if sure is None else len(self.logits)
        for is_wanted, columns in groupby(range(len(wanted)), key=wanted.tolist().__getitem__):
            if not is_wanted:
                continue
            neighbours = [*columns]
            first, end = neighbours[0] * channels, (neighbours[-1] + 1) * channels
            while first < end:
                most = min(longest, end - first)
                if cpu.check(compute(self.network, self.logits.data_ptr(), most, sure or 1, byref(n))):
                    raise InputError("the network returned logits that are NaN or infinite")
                run = Run(self.logits[: n.value], levels[first : first + n.value])
                yield run
                if not run.held:
                    raise InputError("a run has no levels: call set() before the next run")
                first += run.held
                if run.held < n.value:
                    cpu.call("network_back", self.network, *divmod(first - 1, channels))
        cpu.check(compute(self.network, None, 1, 1, byref(n)))  # to the end of the row

    def row(self, given: RowOfImages) -> Float[Tensor, "W C B logits"]:
        """See `pixelrnn.sampling.reference.Network`."""
        logits = self.like.new_empty(*given.levels.shape, logits_per_channel(self.program.levels))
        arrays = given.levels, given.known, given.wanted, given.uniform, logits, given.condition
        if cpu.call("network_row", self.network, *arrays, given.temperature):
            raise InputError("the network returned logits that are NaN or infinite")
        return logits
