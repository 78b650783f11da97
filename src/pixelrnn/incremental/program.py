"""What a network computes at a position, as a list of steps that can be carried out there alone."""

from dataclasses import dataclass, field
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

from pixelrnn.recurrence import Lines


@dataclass(frozen=True, eq=False)
class Relu:
    """max(x, 0)."""

    x: int


@dataclass(frozen=True, eq=False)
class Convolution:
    """A masked convolution of map x, and the map ``plus`` added."""

    x: int
    weight: Float[Tensor, "G F rows columns"]
    """Its closed taps zero, the last row that of the centre."""
    bias: Float[Tensor, " G"]
    plus: int | None

    @property
    def reach(self) -> tuple[int, int]:
        """How many rows above, and columns to both sides, it reads."""
        return self.weight.shape[2] - 1, self.weight.shape[3] // 2


@dataclass(frozen=True, eq=False)
class LineLSTM:
    """The recurrence over map x; all but x as in `pixelrnn.recurrence.line_lstm`."""

    x: int
    input_to_state: Float[Tensor, "D S F four_h"]
    bias: Float[Tensor, "D four_h"]
    state_to_state: Float[Tensor, "D T h four_h"]
    initial: Float[Tensor, "D 2 h"]
    lines: Lines

    @property
    def reach(self) -> tuple[int, int]:
        """How many rows above, and columns to both sides, it reads of x. Its own states it keeps itself."""
        above = max(di for di, _ in self.lines.outputs)  # such a direction reads a row when it is complete
        return above, max(abs(dj) for offsets in self.lines.inputs for _, dj in offsets)


Step: TypeAlias = Relu | Convolution | LineLSTM


@dataclass
class Program:
    """The steps of a network in their order. Map 0 is the image, scaled to [−1, 1]; step n makes map n + 1.

    Layers add their own (``layer.incremental(program, x)``) and pass on the number of the map that they made. The last
    map is the logits, level l of channel c its feature l·C + c.
    """

    height: int
    width: int
    channels: int
    levels: int
    steps: list[Step] = field(default_factory=list)
    features: list[int] = field(init=False)
    """Of each map."""

    def __post_init__(self) -> None:
        self.features = [self.channels]

    def relu(self, x: int) -> int:
        """Adds max(x, 0)."""
        return self._add(Relu(x), self.features[x])

    def convolution(
        self, x: int, weight: Float[Tensor, "G F rows columns"], bias: Float[Tensor, " G"], plus: int | None
    ) -> int:
        """Adds a convolution; see `Convolution`."""
        return self._add(Convolution(x, weight, bias, plus), len(bias))

    def line_lstm(
        self,
        x: int,
        input_to_state: Float[Tensor, "D S F four_h"],
        bias: Float[Tensor, "D four_h"],
        state_to_state: Float[Tensor, "D T h four_h"],
        initial: Float[Tensor, "D 2 h"],
        lines: Lines,
    ) -> int:
        """Adds a recurrence; see `LineLSTM`."""
        return self._add(LineLSTM(x, input_to_state, bias, state_to_state, initial, lines), initial.shape[2])

    def _add(self, step: Step, features: int) -> int:
        self.steps.append(step)
        self.features.append(features)
        return len(self.steps)

    def kept(self, number: int) -> tuple[int, int]:
        """Of a map: how many rows above the current one, and columns beside it, later steps read."""
        reaches = [step.reach for step in self.steps if not isinstance(step, Relu) and step.x == number]
        return max((above for above, _ in reaches), default=0), max((beside for _, beside in reaches), default=0)

    def remembered(self) -> list[bool]:
        """Of each step, whether later positions depend on it: where a pixel is known, nothing else need be computed."""
        needed = [isinstance(step, LineLSTM) for step in self.steps]
        for n in range(len(self.steps) - 1, -1, -1):
            step = self.steps[n]
            has_memory = isinstance(step, LineLSTM) or (isinstance(step, Convolution) and step.reach != (0, 0))
            if has_memory and step.x:
                needed[step.x - 1] = True
            if needed[n]:
                for number in (step.x, step.plus if isinstance(step, Convolution) else None):
                    if number:
                        needed[number - 1] = True
        return needed
