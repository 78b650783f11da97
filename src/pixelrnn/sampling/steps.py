"""The steps as they read, in PyTorch: any device, float32 and float64.

- A masked convolution sums the taps above for a whole row when that row begins. At a position only those to the left
  and the one in the centre are left.
- The Row LSTM and the first direction of the Diagonal BiLSTM read the row above likewise. At a position only the input
  and the state beside it are left.
- The mirror of the Diagonal BiLSTM goes from right to left, and its output moves down one row. So a row of it is
  scanned when the row of the image is complete.

All positions together cost about one forward pass. A position may be computed again, which replaces what it was: once
for each channel, as R, then G, then B become known.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.likelihood import draw, intensities, logits_per_channel
from pixelrnn.ops.lines import Lines
from pixelrnn.ops.threads import one_thread
from pixelrnn.sampling.trace import Concatenate, LineLSTM, Program, Relu, Step


@dataclass(frozen=True, eq=False)
class RowOfImages:
    """One row of a batch of images, positions outermost: what is known of it, and how the rest is drawn."""

    levels: UInt8[Tensor, "W C B"]
    """Of the images; what is not known is replaced."""
    known: Bool[Tensor, "W B"]
    """What is kept."""
    uniform: Float[Tensor, "W C B"]
    """The number in [0, 1) that each sub-pixel is drawn at, float64."""
    wanted: Bool[Tensor, " W"]
    """In which columns logits are computed: at least where something is not known."""
    temperature: float = 1.0
    """Divides the log-probabilities of every draw."""
    condition: Float[Tensor, "W B c"] | None = None
    """The row of the map that the network is conditioned on, if it is."""


class Map:
    """A map as far as later positions read it: its current row, those above, and zeros to both sides."""

    def __init__(self, like: Tensor, width: int, batch: int, features: int, kept: tuple[int, int]) -> None:
        above, self.beside = kept
        self.width = width
        self.rows = like.new_zeros(above + 1, width + 2 * self.beside, batch, features)  # the current one first

    def next_row(self) -> None:
        """The current row becomes the one above."""
        self.rows.copy_(self.rows.roll(1, dims=0))

    def at(self, columns: range, *, dj: int = 0, above: int = 0) -> Float[Tensor, "n B f"]:
        """What columns find at an offset, to be read or written."""
        first = columns.start + dj + self.beside
        return self.rows[above, first : first + len(columns)]

    @property
    def whole_row(self) -> range:
        return range(self.width)


class ReluStep:
    def __init__(self, to: Map, x: Map) -> None:
        self.to, self.x = to, x

    def next_row(self) -> None:
        pass

    def compute(self, columns: range) -> None:
        torch.clamp(self.x.at(columns), min=0, out=self.to.at(columns))


class ConcatenateStep:
    def __init__(self, to: Map, x: Map, y: Map) -> None:
        self.to, self.x, self.y = to, x, y

    def next_row(self) -> None:
        pass

    def compute(self, columns: range) -> None:
        torch.cat([self.x.at(columns), self.y.at(columns)], dim=-1, out=self.to.at(columns))


class ConvolutionStep:
    """The taps above are summed once for a whole row; those in the row are left for each position."""

    def __init__(self, weights: tuple[Tensor, ...], to: Map, x: Map, plus: Map | None = None) -> None:
        weight, self.bias = weights
        self.to, self.x, self.plus = to, x, plus
        self.above, self.beside = weight.shape[2] - 1, weight.shape[3] // 2
        self.taps = weight.permute(2, 3, 1, 0)  # (rows, columns, F, G)
        self.upper = self.bias.expand(x.width, x.rows.shape[2], -1)

    def next_row(self) -> None:
        if self.above:
            seen = [
                self.x.at(self.x.whole_row, dj=dj, above=k)
                for k in range(self.above, 0, -1)
                for dj in range(-self.beside, self.beside + 1)
            ]
            self.upper = self.bias + torch.cat(seen, dim=-1) @ self.taps[:-1].flatten(0, 2)

    def compute(self, columns: range) -> None:
        seen = torch.cat([self.x.at(columns, dj=dj) for dj in range(-self.beside, 1)], dim=-1)
        y = self.upper[columns.start : columns.stop] + seen @ self.taps[-1, : self.beside + 1].flatten(0, 1)
        self.to.at(columns).copy_(y if self.plus is None else y + self.plus.at(columns))


class Scan:
    """One direction of an LSTM: its states and cells in the current row and the one above."""

    def __init__(self, lines: Lines, d: int, weights: tuple[Tensor, ...], x: Map) -> None:
        input_to_state, self.bias, state_to_state, initial_states = (weight[d] for weight in weights)
        self.x = x
        self.inputs = list(zip(lines.inputs[d], input_to_state, strict=True))
        taps = list(zip(lines.taps[d], state_to_state, strict=True))
        self.taps_above = [(dj, kernel) for (di, dj), kernel in taps if di < 0]
        self.taps_beside = [(dj, kernel) for (di, dj), kernel in taps if di == 0]  # one at most
        self.cell = lines.taps[d][lines.cell]
        batch, hidden = x.rows.shape[2], initial_states.shape[1]
        # What is outside the image, beside it and above, holds the initial state.
        self.h, self.c = (Map(x.rows, x.width, batch, hidden, (1, 1)) for _ in range(2))
        for states, initial in zip((self.h, self.c), initial_states, strict=True):
            states.rows.copy_(initial.expand_as(states.rows))
        self.upper = x.rows.new_empty(0)

    def next_row(self) -> None:
        """The row above is complete: what it contributes to this one."""
        self.h.next_row()
        self.c.next_row()
        row = self.x.whole_row
        self.upper = self.bias + sum(self.h.at(row, dj=dj, above=1) @ kernel for dj, kernel in self.taps_above)

    def compute(self, columns: range, *, above: int) -> None:
        """The states in these columns, from x in the row so far above."""
        a = self.upper[columns.start : columns.stop].clone()
        for (_, dj), kernel in self.inputs:
            a += self.x.at(columns, dj=dj, above=above) @ kernel
        if not self.taps_beside:
            self._cells(columns, a)
            return
        ((dj, kernel),) = self.taps_beside
        for n in range(len(columns)) if dj < 0 else reversed(range(len(columns))):
            j = columns[n : n + 1]
            self._cells(j, a[n] + self.h.at(j, dj=dj) @ kernel)

    def _cells(self, columns: range, a: Float[Tensor, "n B four_h"]) -> None:
        #   o, f, i = σ(Kss ⊛ h₋ + Kis ⊛ x)      g = tanh(Kss ⊛ h₋ + Kis ⊛ x)
        o, f, i, g = a.chunk(4, dim=-1)
        #   c = f ⊙ c₋ + i ⊙ g                   h = o ⊙ tanh(c)
        di, dj = self.cell
        c = f.sigmoid() * self.c.at(columns, dj=dj, above=-di) + i.sigmoid() * g.tanh()
        self.c.at(columns).copy_(c)
        self.h.at(columns).copy_(o.sigmoid() * c.tanh())


class LineLSTMStep:
    def __init__(self, lines: Lines, weights: tuple[Tensor, ...], to: Map, x: Map) -> None:
        self.to, self.x = to, x
        # A direction whose states go to the row below is scanned when its row is complete, and so one row late.
        late = [di > 0 for di, _ in lines.outputs]
        scans = [Scan(lines, d, weights, x) for d in range(len(late))]
        self.now = [scan for scan, is_late in zip(scans, late, strict=True) if not is_late]
        self.late = [scan for scan, is_late in zip(scans, late, strict=True) if is_late]
        self.i = -1

    def next_row(self) -> None:
        self.i += 1
        for scan in self.now:
            scan.next_row()
        for scan in self.late if self.i else []:
            scan.next_row()
            scan.compute(self.x.whole_row, above=1)

    def compute(self, columns: range) -> None:
        for scan in self.now:
            scan.compute(columns, above=0)
        scans = self.now + (self.late if self.i else [])
        self.to.at(columns).copy_(torch.stack([scan.h.at(columns) for scan in scans]).sum(dim=0))


class Network:
    """A network at work on a batch of images, of which it has seen the rows so far.

    Args:
        program: its steps.
        weights: the `pixelrnn.sampling.trace.operands` of each.
        width: columns of the images.
        batch: how many images.
    """

    def __init__(self, program: Program, weights: list[tuple[Tensor, ...]], width: int, batch: int) -> None:
        self.program, self.like = program, weights[-1][0]
        sizes = zip(program.features, program.kept, strict=True)
        self.maps = [Map(self.like, width, batch, features, kept) for features, kept in sizes]
        made = self.maps[program.inputs :]
        self.steps = [self._step(*each) for each in zip(program.steps, weights, made, strict=True)]
        self.remembered = [step for step, is_read in zip(self.steps, program.remembered, strict=True) if is_read]

    def _step(
        self, step: Step, weights: tuple[Tensor, ...], to: Map
    ) -> ReluStep | ConcatenateStep | ConvolutionStep | LineLSTMStep:
        read: Any = [self.maps[number] for number in step.reads]
        if isinstance(step, Relu):
            return ReluStep(to, *read)
        if isinstance(step, Concatenate):
            return ConcatenateStep(to, *read)
        if isinstance(step, LineLSTM):
            return LineLSTMStep(step.lines, weights, to, *read)
        return ConvolutionStep(weights, to, *read)

    @torch.no_grad()
    @one_thread()  # of operations as small as a position's
    def row(self, given: RowOfImages) -> Float[Tensor, "W C B logits"]:
        """The next row, in the order of generation. What is not known is drawn, and written into ``given.levels``.

        Returns:
            The logits of every sub-pixel given all before it; NaN where they are not wanted.

        Raises:
            InputError: a wanted logit is not finite.
        """
        program, levels, wanted = self.program, given.levels, given.wanted
        for part in (*self.maps, *(self.steps if wanted.any() else self.remembered)):
            part.next_row()
        image, last = self.maps[0], self.maps[-1]
        if given.condition is not None:
            self.maps[1].at(range(len(levels))).copy_(given.condition)
        logits = last.rows.new_full((*levels.shape, logits_per_channel(program.levels)), torch.nan)

        def show(columns: range, channels: slice) -> None:
            shown = levels[columns.start : columns.stop, channels].transpose(1, 2)
            image.at(columns)[..., channels] = intensities(shown, program.levels, image.rows.dtype)

        for is_wanted, group in groupby(range(len(levels)), key=wanted.tolist().__getitem__):
            columns = [*group]
            if not is_wanted:  # together, and no more than what later positions read
                run = range(columns[0], columns[-1] + 1)
                show(run, slice(None))
                for step in self.remembered:
                    step.compute(run)
                continue
            for j in columns:
                for c in range(program.channels):  # a step computed anew replaces what it was
                    for step in self.steps:
                        step.compute(range(j, j + 1))
                    # Feature l·C + c is level l of channel c.
                    logits[j, c] = last.at(range(j, j + 1))[0, :, c :: program.channels]
                    drawn = draw(logits[j, c], given.uniform[j, c], temperature=given.temperature)
                    levels[j, c] = torch.where(given.known[j], levels[j, c], drawn)
                    show(range(j, j + 1), slice(c, c + 1))
        if not logits[wanted].isfinite().all():
            raise InputError("the model gives logits that are not finite")
        return logits
