"""The product of a 1×1 convolution over all positions and images, where the network's other half of the time goes."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from pixelrnn.backend import autocast_to_bfloat16, choose
from pixelrnn.compiled import operators


def linear(
    x: Float[Tensor, "N B F"],
    weight: Float[Tensor, "G F"],
    bias: Float[Tensor, " G"],
    *,
    relu: bool,
    plus: Float[Tensor, "N B G"] | None,
) -> Float[Tensor, "N B G"]:
    """W·x + b, of max(x, 0) with ``relu``, and ``plus`` added.

    Compiled, a pass reads and writes every map once, activation and addition on the way. Autocast to bfloat16 then
    rounds the factors of the products alone: maps stay as they are.
    """
    bfloat16 = autocast_to_bfloat16(x.device)
    if bfloat16:  # PyTorch's own layers may have rounded maps
        x, plus = x.to(bias.dtype), None if plus is None else plus.to(bias.dtype)
    operands = x, weight, bias, *([] if plus is None else [plus])
    if choose(*operands) == "compiled":
        return _apply(x, weight, bias, relu, plus, bfloat16)
    y = F.linear(F.relu(x) if relu else x, weight, bias)
    return y if plus is None else y + plus


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, relu: bool, plus: Tensor | None, bfloat16: bool
    ) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.relu, ctx.bfloat16 = relu, bfloat16
        plus = None if plus is None else plus.contiguous()
        y: Tensor = operators().linear(x, weight, bias.contiguous(), relu, plus, bfloat16)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        d_x, d_weight, d_bias = operators().linear_backward(
            *ctx.saved_tensors, dy.contiguous(), ctx.relu, ctx.needs_input_grad[0], ctx.bfloat16
        )
        d_plus = dy if ctx.needs_input_grad[4] else None
        return d_x if ctx.needs_input_grad[0] else None, d_weight, d_bias, None, d_plus, None


_apply: Callable[..., Tensor] = _Linear.apply
