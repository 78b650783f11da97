"""What a network computes at a position, as a list of steps that can be carried out there alone."""

from dataclasses import dataclass, field
from typing import TypeAlias

from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.recurrence import Lines


@dataclass(frozen=True, eq=False)
class Relu:
    """max(x, 0)."""

    x: int

    @property
    def reads(self) -> tuple[int, ...]:
        """The maps that it is made of."""
        return (self.x,)


@dataclass(frozen=True, eq=False)
class Concatenate:
    """The features of map x, then those of map y."""

    x: int
    y: int

    @property
    def reads(self) -> tuple[int, ...]:
        """The maps that it is made of."""
        return (self.x, self.y)


@dataclass(frozen=True, eq=False)
class Convolution:
    """A masked convolution of map x, and the map ``plus`` added."""

    x: int
    weight: Float[Tensor, "G F rows columns"]
    """Its closed taps zero, the last row that of the centre."""
    bias: Float[Tensor, " G"]
    plus: int | None

    @property
    def reads(self) -> tuple[int, ...]:
        """The maps that it is made of."""
        return (self.x,) if self.plus is None else (self.x, self.plus)

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
    def reads(self) -> tuple[int, ...]:
        """The maps that it is made of."""
        return (self.x,)

    @property
    def reach(self) -> tuple[int, int]:
        """How many rows above, and columns to both sides, it reads of x. Its own states it keeps itself."""
        above = max(di for di, _ in self.lines.outputs)  # such a direction reads a row when it is complete
        return above, max(abs(dj) for offsets in self.lines.inputs for _, dj in offsets)


Step: TypeAlias = Relu | Concatenate | Convolution | LineLSTM


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
    """The row of the map that the program is conditioned on, if it is."""


@dataclass
class Program:
    """The steps of a network in their order, each of which makes a map of earlier maps.

    Map 0 is the image, scaled to [−1, 1]; map 1 is what it is conditioned on, if anything. Layers add their own steps
    (``layer.incremental(program, x)``) and pass on the number of the map that they made. The last map is the logits,
    level l of channel c its feature l·C + c.
    """

    height: int
    width: int
    channels: int
    levels: int
    condition_features: int = 0
    steps: list[Step] = field(default_factory=list)
    features: list[int] = field(init=False)
    """Of each map."""

    def __post_init__(self) -> None:
        self.features = [self.channels] + [self.condition_features] * (self.condition_features > 0)
        self.inputs = len(self.features)

    @property
    def condition(self) -> int:
        """The map of the condition."""
        if self.inputs == 1:
            raise InputError("the program has no condition: its layers have")
        return 1

    @property
    def like(self) -> Tensor:
        """A weight, to see the type and device of all."""
        return next(step.bias for step in self.steps if isinstance(step, Convolution | LineLSTM))

    def relu(self, x: int) -> int:
        """Adds max(x, 0)."""
        return self._add(Relu(x), self.features[x])

    def concatenate(self, x: int, y: int) -> int:
        """Adds the features of map x followed by those of map y."""
        return self._add(Concatenate(x, y), self.features[x] + self.features[y])

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
        return len(self.features) - 1

    def kept(self, number: int) -> tuple[int, int]:
        """Of a map: how many rows above the current one, and columns beside it, later steps read."""
        reaches = [s.reach for s in self.steps if isinstance(s, Convolution | LineLSTM) and s.x == number]
        return max((above for above, _ in reaches), default=0), max((beside for _, beside in reaches), default=0)

    def remembered(self) -> list[bool]:
        """Of each step, whether later positions depend on it: where a pixel is known, nothing else need be computed."""
        needed = [False] * self.inputs + [isinstance(step, LineLSTM) for step in self.steps]  # of all maps
        for number in range(len(needed) - 1, self.inputs - 1, -1):
            step = self.steps[number - self.inputs]
            if needed[number]:
                for read in step.reads:
                    needed[read] = True
            elif isinstance(step, Convolution) and step.reach != (0, 0):
                needed[step.x] = True
        return needed[self.inputs :]
