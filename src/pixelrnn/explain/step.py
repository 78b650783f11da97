"""One step of each LSTM (paper eq. 3): what is read and what is computed, in tensors of a real layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pixelrnn.backend import backend
from pixelrnn.figures import BLACK, LIGHT, ORANGE, SKY, WHITE, new_figure
from pixelrnn.nn import DiagonalBiLSTM, RowLSTM

BATCH, HIDDEN, SIDE = 16, 32, 28

Shape = tuple[int, ...]


@dataclass
class Step:
    """The shapes of one step of the recurrence."""

    x: Shape
    """Of the map, (B, 2h, H, W)."""
    x_term: Shape
    """Of the input-to-state term of the whole map, (B, D·4h, H, W)."""
    h_taps: Shape
    """Of the states at the line's taps, (D, T, n, B, h)."""
    weight: Shape
    """Of the state-to-state weights, (D, T, h, 4h)."""
    h_term: Shape
    """Of the state-to-state term, (D, n, B, 4h)."""
    sum: Shape
    """Of both terms added, for the line, (D, n, B, 4h)."""
    gate: Shape
    """Of each of o, f, i, g, and so of c and h, (D, n, B, h)."""
    line: int
    """The step's number t."""


class _Recorder(TorchFunctionMode):
    """Keeps the shapes that the reference recurrence computes with, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[tuple[Shape, Shape, Shape]] = []
        self.splits: list[tuple[Shape, Shape]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.functional.einsum:
            self.products.append((tuple(args[1].shape), tuple(args[2].shape), tuple(result.shape)))
        if func is Tensor.chunk:
            self.splits.append((tuple(args[0].shape), tuple(result[0].shape)))
        return result


def record(layer: RowLSTM | DiagonalBiLSTM, t: int) -> Step:
    """Runs a layer, and says what step t was."""
    x = torch.zeros(BATCH, 2 * HIDDEN, SIDE, SIDE)
    recorder = _Recorder()
    with torch.no_grad(), backend("reference"):
        x_term = layer.input_to_state(x)
        with recorder:
            layer(x)
    h_taps, weight, h_term = recorder.products[t]
    both, gate = recorder.splits[t]
    return Step(
        x=tuple(x.shape),
        x_term=tuple(x_term.shape),
        h_taps=h_taps,
        weight=weight,
        h_term=h_term,
        sum=both,
        gate=gate,
        line=t,
    )


def of_row() -> Figure:
    """One row of the Row LSTM."""
    step = record(RowLSTM(2 * HIDDEN, HIDDEN), SIDE // 2)
    return _draw(
        step,
        f"Row LSTM, one step: row {step.line} of {SIDE}×{SIDE}, {SIDE} pixels at once",
        before=f"row {step.line - 1}: three neighbours\nof each pixel",
        cell="straight above",
    )


def of_diagonal() -> Figure:
    """One diagonal of the Diagonal BiLSTM."""
    step = record(DiagonalBiLSTM(2 * HIDDEN, HIDDEN), SIDE // 2)
    return _draw(
        step,
        f"Diagonal BiLSTM, one step: diagonal {step.line}, {step.gate[1]} pixels of each direction at once",
        before=f"diagonal {step.line - 1}: the pixel above\nand the pixel beside",
        cell="beside",
    )


def _draw(step: Step, title: str, *, before: str, cell: str) -> Figure:
    figure, [[axes]] = new_figure(8.6, 6.8, 1, 1)
    axes.set(xlim=(0, 10), ylim=(8.3, 0), xticks=[], yticks=[])
    axes.set_frame_on(False)
    axes.set_title(title, fontsize=11)
    both = "both directions, " if step.gate[0] == 2 else ""
    left, middle, right = 2.4, 5.0, 7.6
    _box(axes, left, 0.9, "x, the whole map", f"{_times(step.x)}\nimages, 2h, rows, columns", WHITE)
    _box(axes, right, 0.9, f"h₋, {before}", f"{_times(step.h_taps)}\ndirections, taps, pixels, images, h", SKY)
    _box(
        axes,
        left,
        2.9,
        "Kis ⊛ x, all steps at once",
        f"{_times(step.x_term)}\nimages, directions · 4h, rows, columns",
        LIGHT,
    )
    product = f"{_times(step.h_term)}\ndirections, pixels, images, 4h"
    _box(axes, right, 2.9, f"Kss ⊛ h₋, Kss {_times(step.weight)}", product, LIGHT)
    on_line = f"their sum on this line: {both}{step.gate[1]} pixels"
    _box(axes, middle, 4.65, on_line, f"{_times(step.sum)}, cut into four", ORANGE)
    _box(axes, left, 6.2, "o, f, i = σ(·)      g = tanh(·)", f"each {_times(step.gate)}", ORANGE)
    _box(axes, right, 6.2, f"c₋, {cell}", _times(step.gate), SKY)
    _box(axes, middle, 7.75, "c = f ⊙ c₋ + i ⊙ g      h = o ⊙ tanh(c)", f"each {_times(step.gate)}", ORANGE)
    for start, end in (
        ((left, 1.5), (left, 2.35)),
        ((right, 1.62), (right, 2.35)),
        ((left + 0.6, 3.46), (middle - 0.8, 4.24)),
        ((right - 0.6, 3.46), (middle + 0.8, 4.24)),
        ((middle - 0.8, 5.07), (left + 0.6, 5.8)),
        ((left + 0.6, 6.62), (middle - 0.8, 7.34)),
        ((right - 0.6, 6.62), (middle + 0.8, 7.34)),
    ):
        axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": BLACK, "lw": 1.4})
    return figure


def _times(shape: Shape) -> str:
    return " × ".join(map(str, shape))


def _box(axes: Axes, x: float, y: float, name: str, shape: str, colour: str) -> None:
    """A box around (x, y): what is there, and its shape."""
    text = f"{name}\n{shape}"
    width, height = 4.6, 0.2 + 0.29 * (text.count("\n") + 1)
    axes.add_patch(Rectangle((x - width / 2, y - height / 2), width, height, facecolor=colour, edgecolor=BLACK))
    axes.text(x, y, text, ha="center", va="center", fontsize=9.5, linespacing=1.35)
