"""The steps as CUDA graphs: the kernels of one column, recorded once and repeated for all columns.

A position takes hundreds of small kernels, and PyTorch needs longer to launch one than the GPU to run it. A CUDA graph
launches all kernels of a column at once. It repeats them at the same addresses, so the row and its noise lie in
buffers, and the number of the column in a tensor (`pixelrnn.sampling.reference.Column`).
"""

import logging
import threading
from collections.abc import Callable, Iterator
from functools import cache, partial

import torch
from jaxtyping import Float
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.likelihood import draw, logits_per_channel
from pixelrnn.ops.threads import one_thread
from pixelrnn.sampling import reference
from pixelrnn.sampling.program import Program
from pixelrnn.sampling.reference import Column, RowOfImages, places


class Network:
    """See `pixelrnn.sampling.reference.Network`. On a CPU it calls the functions that a GPU records."""

    def __init__(self, program: Program, weights: list[tuple[Tensor, ...]], width: int, batch: int) -> None:
        self.work = Work(program, weights, width, batch)
        self.program, self.like = program, self.work.like
        self.mirror, self.pass_by = self._recording(self.work.mirror_column), self._recording(self.work.pass_column)
        self.logits = [self._recording(partial(self.work.compute_logits, c)) for c in range(program.channels)]
        self.temperature, self.draw = 1.0, self._recording(partial(self.work.draw_column, 1.0))

    def _recording(self, function: Callable[[], object]) -> "Recording":
        return Recording(function, self.work.values, self.like.device)

    @torch.no_grad()
    @one_thread()  # on a CPU the operations of one position are tiny
    def row(self, given: RowOfImages) -> Float[Tensor, "W C B logits"]:
        """See `pixelrnn.sampling.reference.Network`."""
        assert given.uniform is not None
        if given.temperature != self.temperature:  # a number in the kernels
            self.draw = self._recording(partial(self.work.draw_column, given.temperature))
            self.temperature = given.temperature
        self._begin_row(given)
        self.work.uniform.copy_(given.uniform)
        for j, is_wanted in enumerate(given.wanted.tolist()):
            self.work.go_to(j)
            (self.draw if is_wanted else self.pass_by)()
        given.levels.copy_(self.work.levels)
        logits = self.work.row_logits.clone()
        _check_finite(logits[given.wanted])
        return logits

    @torch.no_grad()
    def positions(self, given: RowOfImages) -> Iterator[tuple[int, int, Float[Tensor, "B logits"]]]:
        """See `pixelrnn.sampling.reference.Network`."""
        self._begin_row(given)
        for j, is_wanted in enumerate(given.wanted.tolist()):
            self.work.go_to(j)
            if not is_wanted:
                self.pass_by()
                continue
            for c, compute in enumerate(self.logits):
                compute()
                logits = self.work.row_logits[j, c].clone()
                _check_finite(logits)
                yield j, c, logits
                self.work.levels[j, c] = given.levels[j, c]
                self.work.show_channel(c)

    def _begin_row(self, given: RowOfImages) -> None:
        self.work.begin_row(given.condition)
        self.work.levels.copy_(given.levels)
        self.work.known.copy_(given.known)
        self.work.row_logits.fill_(torch.nan)
        if any(scan.late and scan.row >= 0 for scan in self.work.scans):
            for j in reversed(range(len(given.levels))):
                self.work.go_to(j)
                self.mirror()


class Work(reference.Network):
    """The work on one column, from buffers into buffers. Each function does the same when it is called twice."""

    def __init__(self, program: Program, weights: list[tuple[Tensor, ...]], width: int, batch: int) -> None:
        super().__init__(program, weights, width, batch)
        shape, device = (width, program.channels, batch), self.like.device
        self.levels = torch.zeros(shape, dtype=torch.uint8, device=device)
        self.known = torch.zeros(width, batch, dtype=torch.bool, device=device)
        self.uniform = torch.zeros(shape, dtype=torch.float64, device=device)
        self.row_logits = self.like.new_zeros(*shape, logits_per_channel(program.levels))
        scanned = [state for scan in self.scans for state in (scan.h, scan.c)]
        self.states = [*self.maps, *scanned]
        self.first = torch.arange(2 * max(state.beside for state in self.states) + 1, device=device)
        self.column = Column(self.first.clone())

    def go_to(self, j: int) -> None:
        """Chooses the column of the next call."""
        torch.add(self.first, j, out=self.column.numbers)

    def draw_column(self, temperature: float) -> None:
        """Draws the unknown sub-pixels of the column."""
        j = places(self.column)
        for c in range(self.program.channels):
            self.compute_logits(c)
            drawn = draw(self.row_logits[j, c][0], self.uniform[j, c][0], temperature=temperature)
            self.levels[j, c] = torch.where(self.known[j], self.levels[j, c], drawn)
            self.show_channel(c)

    def compute_logits(self, channel: int) -> None:
        """Computes the logits of a channel."""
        self.row_logits[places(self.column), channel] = self.logits(self.column, channel)

    def show_channel(self, channel: int) -> None:
        """Gives a channel of the column to the network."""
        self.show(self.column, slice(channel, channel + 1), self.levels)

    def pass_column(self) -> None:
        """Computes what later positions read of the column, which is known."""
        self.pass_by(self.column, self.levels)

    def mirror_column(self) -> None:
        """Scans the column, in the row above, in the mirrored directions."""
        self.mirror(self.column)

    def values(self) -> list[Tensor]:
        """All that the functions compute at the column."""
        return [self.row_logits[places(self.column)], *(state.at(self.column) for state in self.states)]


class Recording:
    """A function that launches kernels. On a GPU, the second call records them, and later calls repeat the recording.

    The first call makes PyTorch load the kernels. The second and the third compare the values of the recording, at two
    columns, with those of the function. If they differ, or if recording fails, the function itself runs from then on,
    and nothing more is recorded on this device.
    """

    def __init__(
        self, function: Callable[[], object], values: Callable[[], list[Tensor]], device: torch.device
    ) -> None:
        self.function, self.values, self.device = function, values, device
        self.run, self.calls = function, 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == 2 and self.device not in _failed:
            try:
                self.run = record(self.function, self.device)
            except Exception as error:  # a driver can raise anything
                _give_up(self.device, f"{type(error).__name__}: {error}".splitlines()[0])
        self.run()
        if self.calls in (2, 3) and self.run is not self.function:
            found = self.values()
            self.function()
            if not all(map(_are_close, found, self.values())):
                self.run = self.function
                _give_up(self.device, "they compute other values than PyTorch")


def record(function: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """Records the kernels that a function launches, and returns a function that repeats them; on a CPU, the same one.

    Recording computes nothing.
    """
    if device.type != "cuda":
        return function
    with _turn:
        graph, stream = torch.cuda.CUDAGraph(), _stream(device)
        # The outer block restores the current stream if recording fails. Calls of other threads do not end a recording.
        with torch.cuda.stream(stream), torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            function()
    return graph.replay


_turn = threading.Lock()
"""PyTorch records one graph at a time in a process."""

_failed: set[torch.device] = set()
"""Devices on which a recording failed."""


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """The stream to record on: the same for all graphs, because PyTorch keeps memory for each."""
    return torch.cuda.Stream(device)


def _are_close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-2, atol=1e-3, equal_nan=True)


def _check_finite(logits: Tensor) -> None:
    if not logits.isfinite().all():
        raise InputError("the network returned logits that are NaN or infinite")


def _give_up(device: torch.device, why: str) -> None:
    """Warns once per device, and lets no further recording begin."""
    if device not in _failed:
        logging.getLogger("pixelrnn").warning(
            "the CUDA graphs of the sampler do not work on %s, so it launches its kernels one by one: %s", device, why
        )
        _failed.add(device)
