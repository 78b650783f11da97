"""The steps of a network that computes position by position: what each reads, when, and with which weights.

`pixelrnn.sampling.trace` makes a program of a network; `reference` (in PyTorch) or `cpu` (in C++) runs it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal
from weakref import ref

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from pixelrnn.errors import InputError
from pixelrnn.nn import MaskedConv2d
from pixelrnn.ops.lines import Layer


@dataclass(frozen=True, eq=False)
class Step:
    """Computes one map from the map x, or from x and y. The index of a step is the number of its map."""

    kind: Literal["input", "relu", "concatenate", "convolution", "copy"] | Layer
    """input: given; relu: max(x, 0); concatenate: the features of x, then y; convolution: of x, plus y if given; copy:
    x, plus y if given; a layer: its recurrence over x."""
    reads: tuple[int, ...]
    """The numbers of x and y."""
    sees: npt.NDArray[np.int64]
    """For each feature, the last channel of the current pixel that it sees; -1: only earlier pixels, -2: no pixel."""
    reach: tuple[int, int] = (0, 0)
    """The rows above, and columns on each side, that the step reads of x."""
    layer: ref[nn.Module] | None = None
    """The module with the weights."""


@dataclass(frozen=True, eq=False)
class Stages:
    """The features of a map, sorted by stage. The sampler stores them in this order.

    At stage c of a position, the channels before c are known. The stage computes the features that see channel c − 1
    and no later one, then the logits of channel c. Features that see no channel belong to stage 0. So each feature is
    computed once. Stage C stands for all features of a pixel whose channels are known.
    """

    order: npt.NDArray[np.int64]
    """The features, those of stage 0 first."""
    known: list[int]
    """For each stage 0 to C, the number of features that are known when it ends."""

    def block(self, stage: int) -> slice:
        """The places of the features that a stage computes; for stage C, those of all features."""
        return slice(0 if stage in (0, len(self.known) - 1) else self.known[stage - 1], self.known[stage])

    def places(self, of: "Stages") -> Int64[Tensor, " f"]:
        """For the features of another map in their order, the places of the same features in this order."""
        return torch.from_numpy(self.order.argsort()[of.order])


@dataclass(frozen=True)
class Program:
    """The steps of a network in their order, the inputs first.

    The last step is the convolution that gives the logits: level l of channel c is feature l·C + c.
    """

    channels: int
    levels: int
    steps: list[Step]

    @cached_property
    def stages(self) -> list[Stages]:
        """The stages of each map."""
        found = []
        for step in self.steps:
            stage = np.maximum(step.sees + 1, 0)
            if step is self.steps[-1]:  # the logits of channel c, in the order of the levels
                stage = np.arange(len(stage)) % self.channels
            order, known = stage.argsort(stable=True), [int((stage <= c).sum()) for c in range(self.channels + 1)]
            found.append(Stages(order, known))
        return found

    @cached_property
    def kept(self) -> list[tuple[int, int]]:
        """For each map, the rows above and the columns on each side that other steps read."""
        kept = [(0, 0)] * len(self.steps)
        for step in self.steps:
            for x in step.reads[:1]:
                kept[x] = max(kept[x][0], step.reach[0]), max(kept[x][1], step.reach[1])
        return kept

    @cached_property
    def remembered(self) -> list[bool]:
        """For each map, True if later positions depend on it. Known pixels need only these maps."""
        needed = [step.kind in ("row", "diagonal") for step in self.steps]
        for number, step in reversed([*enumerate(self.steps)]):
            for read in step.reads if needed[number] else step.reads[:1] if step.reach != (0, 0) else ():
                needed[read] = True
        return needed


def operands(program: Program) -> list[tuple[Tensor, ...]]:
    """The current weights of each step, for maps in the order of their stages. A batch reads the layers only here.

    Returns:
        For a convolution its weight (G, F, rows, columns), where the last row is that of the centre, and its bias (G);
        for an LSTM the operands of `pixelrnn.ops.line_lstm` after the map; nothing for other steps.
    """
    layers: list[Any] = [step.layer and step.layer() for step in program.steps]
    like = next((weight for layer in layers if layer is not None for weight in layer.parameters()), None)
    if like is None:
        raise InputError("the network has no layers with weights")
    found: list[tuple[Tensor, ...]] = []
    for step, layer in zip(program.steps, layers, strict=True):
        if step.kind == "copy":
            weight = torch.eye(len(step.sees)).to(like)
            found.append((weight[:, :, None, None], weight.new_zeros(len(weight))))
        elif step.kind != "convolution":
            found.append(layer.operands() if layer else ())
        elif isinstance(layer, MaskedConv2d):  # the taps below the centre are closed
            found.append((layer.masked_weight[:, :, : layer.margin[0] + 1], layer.bias))
        else:
            found.append((layer.weight, like.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias))
    return found if program.channels == 1 else _sorted(program, found)


def _sorted(program: Program, weights: list[tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
    """The weights of each step for features in the order of their stages."""
    orders = [torch.from_numpy(stages.order).to(weights[-1][0].device) for stages in program.stages]
    found: list[tuple[Tensor, ...]] = []
    for step, given, order in zip(program.steps, weights, orders, strict=True):
        x = orders[step.reads[0]] if given else order
        if step.kind in ("convolution", "copy"):
            weight, bias = given
            found.append((weight[order][:, x], bias[order]))
        elif given:
            kernel, bias, state, initial = given
            gates = torch.cat([order + gate * len(order) for gate in range(4)])
            kernel, state = kernel[:, :, x], state[:, :, order]
            found.append((kernel[..., gates], bias[:, gates], state[..., gates], initial[..., order]))
        else:
            found.append(())
    return found
