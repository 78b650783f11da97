"""The recurrence in C++, compiled for the processor at hand, parallel over a batch. CPU, float32 and float64; under
autocast to bfloat16, products of bfloat16 numbers that are summed in float32.

A thread carries a few images at a time through the whole scan, row after row in raster order, which respects every tap:
no lines, no barriers, and a busy neighbour core holds up nobody. See the README in `pixelrnn.recurrence`.
"""

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from pixelrnn.backend import autocast_to_bfloat16
from pixelrnn.compiled import images_per_slice, operators
from pixelrnn.recurrence.lines import Lines


def line_lstm(
    x: Float[Tensor, "N B F"],
    input_to_state: Float[Tensor, "D S F four_h"],
    bias: Float[Tensor, "D four_h"],
    state_to_state: Float[Tensor, "D T h four_h"],
    initial: Float[Tensor, "D 2 h"],
    lines: Lines,
) -> Float[Tensor, "N B h"]:
    """See `pixelrnn.recurrence.line_lstm`."""
    tensors = (x, input_to_state, bias, state_to_state, initial)
    bfloat16 = autocast_to_bfloat16(x.device)
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return _apply(*tensors, lines, bfloat16, keep)


class _LineLSTM(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        *tensors, lines, bfloat16, keep = args
        inputs = [tensor.contiguous() for tensor in tensors]
        ctx.layout = *layout(lines), images_per_slice(inputs[0].shape[1]), bfloat16
        output, saved = operators().line_lstm(*inputs, *ctx.layout, keep)
        ctx.save_for_backward(*inputs, saved)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor) -> tuple[Tensor | None, ...]:
        gradients = operators().line_lstm_backward(*ctx.saved_tensors, d_output.contiguous(), *ctx.layout)
        return *gradients, None, None, None


_apply: Callable[..., Tensor] = _LineLSTM.apply


def layout(lines: Lines) -> tuple[int, list[int], list[int], list[int], int]:
    """Height, the offsets of input taps, taps and outputs in one flat list each, and the cell tap."""
    inputs, taps = ([*chain(*chain(*offsets))] for offsets in (lines.inputs, lines.taps))
    return lines.height, inputs, taps, [*chain(*lines.outputs)], lines.cell
