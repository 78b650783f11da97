"""The steps in PyTorch, written for reading: any device, float32 and float64.

A map is computed position by position, in the order of generation. A step reads no later position, so all positions
together cost about one forward pass. Within a position, each stage computes the features that see the channel drawn
last (`pixelrnn.sampling.program.Stages`). So every feature of every position is computed once.

The mirror of the Diagonal BiLSTM runs from right to left, and its output moves down one row. So it scans a row once
that row of the image is complete.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, product
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.likelihood import draw, intensities, logits_per_channel
from pixelrnn.ops.lines import LAYERS, Lines
from pixelrnn.ops.threads import one_thread
from pixelrnn.sampling.program import Program, Stages


@dataclass(frozen=True, eq=False)
class RowOfImages:
    """One row of a batch of images, positions outermost: its known pixels, and the noise for the others."""

    levels: UInt8[Tensor, "W C B"]  # unknown pixels are overwritten
    known: Bool[Tensor, "W B"]
    uniform: Float[Tensor, "W C B"] | None  # a number in [0, 1) per sub-pixel, which decides the draw; float64
    wanted: Bool[Tensor, " W"]  # columns to compute logits for, among them all with an unknown pixel
    temperature: float = 1.0
    condition: Float[Tensor, "W B c"] | None = None


@dataclass(frozen=True, eq=False)
class Column:
    """One column, like a range of one. Its number is in a tensor, so recorded kernels can run at any column."""

    numbers: Int64[Tensor, " n"]
    """The number of this column, and the numbers that follow it."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: slice) -> "Column":
        return self


Columns = range | Column


def places(columns: Columns, by: int = 0) -> Any:
    """The index of these columns, moved to the right by some columns."""
    if isinstance(columns, Column):
        return columns.numbers[by : by + 1]
    return slice(columns.start + by, columns.stop + by)


class Map:
    """The part of a map that later positions read: its current row, rows above, and zeros on both sides."""

    def __init__(self, like: Tensor, width: int, batch: int, stages: Stages, kept: tuple[int, int]) -> None:
        above, self.beside = kept
        self.width, self.stages = width, stages
        # The current row first; the features in the order of their stages.
        self.rows = like.new_zeros(above + 1, width + 2 * self.beside, batch, len(stages.order))

    def next_row(self) -> None:
        """The current row becomes the one above."""
        self.rows.copy_(self.rows.roll(1, dims=0))

    def at(self, columns: Columns, di: int = 0, dj: int = 0) -> Float[Tensor, "n B f"]:
        """The values at an offset from these columns, to read."""
        return self.rows[-di, places(columns, self.beside + dj)]

    def write(self, columns: Columns, features: slice, values: Float[Tensor, "n B f"]) -> None:
        """Sets these features of these columns in the current row."""
        # Under autocast the values have another type. A slice converts them, an index tensor does not.
        self.rows[0, places(columns, self.beside), :, features] = values.to(self.rows.dtype)


class PointStep:
    """The ReLU of a map, or the concatenation of two maps."""

    def __init__(self, to: Map, *read: Map) -> None:
        self.to, self.read = to, read

    def compute(self, columns: Columns, stage: int) -> None:
        # The features of a stage are those of x, then those of y. So a whole pixel goes stage by stage, too.
        whole = len(self.to.stages.known) - 1
        stages = range(whole) if stage == whole else [stage]
        found = [read.at(columns)[..., read.stages.block(s)] for s in stages for read in self.read]
        y = torch.cat(found, dim=-1)
        self.to.write(columns, self.to.stages.block(stage), y if len(self.read) == 2 else torch.clamp(y, min=0))


class ConvolutionStep:
    """A masked convolution: it reads all taps above, those to the left, and the known features of the centre."""

    def __init__(self, weights: tuple[Tensor, ...], to: Map, x: Map, plus: Map | None = None) -> None:
        weight, self.bias = weights
        self.to, self.x = to, x
        self.plus = None if plus is None else (plus, plus.stages.places(to.stages).to(weight.device))
        above, beside = weight.shape[2] - 1, weight.shape[3] // 2
        taps = weight.permute(2, 3, 1, 0).flatten(0, 1)  # (rows · columns, F, G)
        self.offsets = [(di, dj) for di in range(-above, 1) for dj in range(-beside, beside + 1) if (di, dj) < (0, 0)]
        self.kernel = taps[: len(self.offsets) + 1].flatten(0, 1).mT

    def compute(self, columns: Columns, stage: int) -> None:
        block, known = self.to.stages.block(stage), self.x.stages.known[stage]
        earlier = [self.x.at(columns, *offset) for offset in self.offsets]
        seen = torch.cat([*earlier, self.x.at(columns)[..., :known]], dim=-1)
        y = F.linear(seen, self.kernel[block, : seen.shape[-1]], self.bias[block])
        if self.plus is not None:
            plus, features = self.plus
            y += plus.at(columns)[..., features[block]]
        self.to.write(columns, block, y)


class Scan:
    """One direction of an LSTM: its states and cells in the current row and the one above."""

    def __init__(self, lines: Lines, d: int, weights: tuple[Tensor, ...], to: Map, x: Map) -> None:
        input_to_state, bias, state_to_state, self.initial = (weight[d] for weight in weights)
        kernel = torch.cat([state_to_state.flatten(0, 1), input_to_state.flatten(0, 1)]).mT
        self.x, self.inputs, self.taps, self.cell = x, lines.inputs[d], lines.taps[d], lines.taps[d][lines.cell]
        # The gates of each stage, which see what is known of the last input.
        seen = [kernel.shape[1] - len(x.stages.order) + known for known in x.stages.known]
        blocks = [to.stages.block(stage) for stage in range(len(seen))]
        gates = kernel.unflatten(0, (4, -1))
        self.kernels = [gates[:, block, :n].flatten(0, 1) for block, n in zip(blocks, seen, strict=True)]
        self.biases = [bias.unflatten(0, (4, -1))[:, block].flatten() for block in blocks]
        # The states of this direction may move down one row. Then its scan waits for the complete row, one row late.
        self.late = lines.outputs[d][0]
        self.row = -1 - self.late
        # Before the first row of the scan, its states are zero.
        self.h, self.c = (Map(x.rows, x.width, x.rows.shape[2], to.stages, (1, 1)) for _ in range(2))

    def next_row(self) -> None:
        self.row += 1
        if self.row == 0:  # neighbours outside the image hold the initial state
            self.h.rows[:], self.c.rows[:] = self.initial
        elif self.row > 0:
            self.h.next_row()
            self.c.next_row()

    def compute(self, columns: Columns, stage: int) -> None:
        block, kernel, bias = self.h.stages.block(stage), self.kernels[stage], self.biases[stage]
        # All columns at once; or one by one, starting at the side of the tap within the row.
        beside = sum(dj for di, dj in self.taps if di == 0)
        for j in [columns[n : n + 1] for n in range(len(columns))][::-beside] if beside else [columns]:
            h = [self.h.at(j, di, dj) for di, dj in self.taps]
            x = [self.x.at(j, di - self.late, dj) for di, dj in self.inputs]
            seen = torch.cat(h + x, dim=-1)[..., : kernel.shape[1]]
            #   o, f, i = σ(Kss ⊛ h₋ + Kis ⊛ x)      g = tanh(Kss ⊛ h₋ + Kis ⊛ x)
            o, f, i, g = F.linear(seen, kernel, bias).chunk(4, dim=-1)
            #   c = f ⊙ c₋ + i ⊙ g                   h = o ⊙ tanh(c)
            c = f.sigmoid() * self.c.at(j, *self.cell)[..., block] + i.sigmoid() * g.tanh()
            self.c.write(j, block, c)
            self.h.write(j, block, o.sigmoid() * c.tanh())


class LineLSTMStep:
    """An LSTM: the sum of the states of all directions."""

    def __init__(self, lines: Lines, weights: tuple[Tensor, ...], to: Map, x: Map) -> None:
        self.to, self.scans = to, [Scan(lines, d, weights, to, x) for d in range(len(lines.outputs))]

    def compute(self, columns: Columns, stage: int) -> None:
        for scan in self.scans:
            if not scan.late:
                scan.compute(columns, stage)
        block = self.to.stages.block(stage)
        states = [scan.h.at(columns)[..., block] for scan in self.scans]
        self.to.write(columns, block, torch.stack(states).sum(dim=0))


class Network:
    """The state of a network on a batch of images, ``width`` columns wide, after the rows so far."""

    def __init__(self, program: Program, weights: list[tuple[Tensor, ...]], width: int, batch: int) -> None:
        self.program, self.like = program, weights[-1][0]
        made = zip(program.stages, program.kept, strict=True)
        self.maps = [Map(self.like, width, batch, stages, kept) for stages, kept in made]
        self.steps: list[PointStep | ConvolutionStep | LineLSTMStep] = []
        self.remembered = []
        self.scans: list[Scan] = []
        for step, given, to, is_remembered in zip(program.steps, weights, self.maps, program.remembered, strict=True):
            read = [self.maps[number] for number in step.reads]
            if step.kind == "input":
                continue
            if step.kind in ("relu", "concatenate"):
                self.steps.append(PointStep(to, *read))
            elif step.kind in LAYERS:
                self.steps.append(lstm := LineLSTMStep(LAYERS[step.kind](1, 1), given, to, *read))
                self.scans += lstm.scans
            else:
                self.steps.append(ConvolutionStep(given, to, *read))
            self.remembered += self.steps[-1:] if is_remembered else []

    @torch.no_grad()
    @one_thread()  # the operations of one position are tiny
    def row(self, given: RowOfImages) -> Float[Tensor, "W C B logits"]:
        """Computes the next row in the order of generation. Draws its unknown pixels into ``given.levels``.

        Returns:
            The logits of every sub-pixel given all before it; NaN in columns that are not wanted.

        Raises:
            InputError: a wanted logit is NaN or infinite.
        """
        logits = self.like.new_full((*given.levels.shape, logits_per_channel(self.program.levels)), torch.nan)
        for j, c, at in self.positions(given):
            logits[j, c] = at
            assert given.uniform is not None
            drawn = draw(at, given.uniform[j, c], temperature=given.temperature)
            given.levels[j, c] = torch.where(given.known[j], given.levels[j, c], drawn)
        return logits

    @torch.no_grad()
    def positions(self, given: RowOfImages) -> Iterator[tuple[int, int, Float[Tensor, "B logits"]]]:
        """Computes the next row. Yields column, channel and logits of each sub-pixel of a wanted column.

        The caller writes the level of each image into ``given.levels`` before it asks for the next sub-pixel. It must
        go through the whole row.

        Raises:
            InputError: a logit is NaN or infinite.
        """
        self.begin_row(given.condition)
        self.mirror(range(len(given.levels)))
        for is_wanted, group in groupby(range(len(given.levels)), key=given.wanted.tolist().__getitem__):
            columns = [*group]
            if not is_wanted:  # all at once
                self.pass_by(range(columns[0], columns[-1] + 1), given.levels)
                continue
            for j, c in product(columns, range(self.program.channels)):
                column = range(j, j + 1)
                logits = self.logits(column, c)[0].clone()
                if not logits.isfinite().all():
                    raise InputError("the network returned logits that are NaN or infinite")
                yield j, c, logits
                self.show(column, slice(c, c + 1), given.levels)

    def begin_row(self, condition: Float[Tensor, "W B c"] | None) -> None:
        """Moves on to the next row."""
        parts: list[Map | Scan] = [*self.maps, *self.scans]
        for part in parts:
            part.next_row()
        if condition is not None:
            self.maps[1].write(range(len(condition)), slice(None), condition)

    def mirror(self, columns: Columns) -> None:
        """Scans the row above, which is complete, in the mirrored directions."""
        for scan in self.scans:
            if scan.late and scan.row >= 0:
                scan.compute(columns, self.program.channels)

    def logits(self, columns: Columns, channel: int) -> Float[Tensor, "n B logits"]:
        """Computes the features that see no later channel than the one before. Returns the logits of this channel."""
        for step in self.steps:
            step.compute(columns, stage=channel)
        last = self.maps[-1]
        return last.at(columns)[..., last.stages.block(channel)]

    def show(self, columns: Columns, channels: slice, levels: UInt8[Tensor, "W C B"]) -> None:
        """Gives these channels of the image to the network."""
        shown = levels[places(columns), channels].transpose(1, 2)
        self.maps[0].write(columns, channels, intensities(shown, self.program.levels, self.like.dtype))

    def pass_by(self, columns: Columns, levels: UInt8[Tensor, "W C B"]) -> None:
        """Computes only what later positions read of these columns, which are known."""
        self.show(columns, slice(None), levels)
        for step in self.remembered:
            step.compute(columns, self.program.channels)
