"""The steps of a program as they read, in PyTorch: any device, float32 and float64."""

from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.incremental.program import Concatenate, Convolution, LineLSTM, Program, Relu, RowOfImages, Step
from pixelrnn.likelihood import draw, intensities, logits_per_channel


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
    def __init__(self, x: Map, y: Map) -> None:
        self.x, self.y = x, y

    def next_row(self) -> None:
        pass

    def compute(self, columns: range) -> None:
        torch.clamp(self.x.at(columns), min=0, out=self.y.at(columns))


class ConcatenateStep:
    def __init__(self, x: Map, y: Map, z: Map) -> None:
        self.x, self.y, self.z = x, y, z

    def next_row(self) -> None:
        pass

    def compute(self, columns: range) -> None:
        torch.cat([self.x.at(columns), self.y.at(columns)], dim=-1, out=self.z.at(columns))


class ConvolutionStep:
    """The taps above are summed once for a whole row; those in the row are left for each position."""

    def __init__(self, step: Convolution, x: Map, y: Map, plus: Map | None) -> None:
        self.x, self.y, self.plus, self.bias = x, y, plus, step.bias
        self.above, self.beside = step.reach
        self.taps = step.weight.permute(2, 3, 1, 0)  # (rows, columns, F, G)
        self.upper = step.bias.expand(x.width, y.rows.shape[2], -1)

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
        self.y.at(columns).copy_(y if self.plus is None else y + self.plus.at(columns))


class Scan:
    """One direction of an LSTM: its states and cells in the current row and the one above."""

    def __init__(self, step: LineLSTM, d: int, x: Map) -> None:
        self.x, self.lines, self.bias = x, step.lines, step.bias[d]
        self.inputs = list(zip(step.lines.inputs[d], step.input_to_state[d], strict=True))
        taps = list(zip(step.lines.taps[d], step.state_to_state[d], strict=True))
        self.taps_above = [(dj, kernel) for (di, dj), kernel in taps if di < 0]
        self.taps_beside = [(dj, kernel) for (di, dj), kernel in taps if di == 0]  # one at most
        self.cell = step.lines.taps[d][step.lines.cell]
        batch, hidden = x.rows.shape[2], step.initial.shape[2]
        # What is outside the image, beside it and above, holds the initial state.
        self.h, self.c = (Map(x.rows, x.width, batch, hidden, (1, 1)) for _ in range(2))
        for states, initial in zip((self.h, self.c), step.initial[d], strict=True):
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
    def __init__(self, step: LineLSTM, x: Map, y: Map) -> None:
        self.x, self.y = x, y
        scans = [Scan(step, d, x) for d in range(len(step.bias))]
        # A direction whose states go to the row below is scanned when its row is complete, and so one row late.
        late = [di > 0 for di, _ in step.lines.outputs]
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
        self.y.at(columns).copy_(torch.stack([scan.h.at(columns) for scan in scans]).sum(dim=0))


class Network:
    """See `pixelrnn.incremental.start`."""

    def __init__(self, program: Program, batch: int) -> None:
        self.program = program
        like, width = program.like, program.width
        self.maps = [Map(like, width, batch, f, program.kept(n)) for n, f in enumerate(program.features)]
        self.steps = [self._step(*both) for both in zip(program.steps, self.maps[program.inputs :], strict=True)]
        self.remembered = [step for step, is_read in zip(self.steps, program.remembered(), strict=True) if is_read]

    def _step(self, step: Step, y: Map) -> ReluStep | ConcatenateStep | ConvolutionStep | LineLSTMStep:
        x = self.maps[step.x]
        if isinstance(step, Relu):
            return ReluStep(x, y)
        if isinstance(step, Concatenate):
            return ConcatenateStep(x, self.maps[step.y], y)
        if isinstance(step, Convolution):
            return ConvolutionStep(step, x, y, None if step.plus is None else self.maps[step.plus])
        return LineLSTMStep(step, x, y)

    @torch.no_grad()
    def row(self, given: RowOfImages) -> Float[Tensor, "W C B logits"]:
        """See `pixelrnn.incremental.Network`."""
        program, levels, wanted = self.program, given.levels, given.wanted
        for part in (*self.maps, *(self.steps if wanted.any() else self.remembered)):
            part.next_row()
        image, last = self.maps[0], self.maps[-1]
        if given.condition is not None:
            self.maps[program.condition].at(range(program.width)).copy_(given.condition)
        logits = last.rows.new_full((*levels.shape, logits_per_channel(program.levels)), torch.nan)

        def show(columns: range, channels: slice) -> None:
            shown = levels[columns.start : columns.stop, channels].transpose(1, 2)
            image.at(columns)[..., channels] = intensities(shown, program.levels, image.rows.dtype)

        for is_wanted, group in groupby(range(program.width), key=wanted.tolist().__getitem__):
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
