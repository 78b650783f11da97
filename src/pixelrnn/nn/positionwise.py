"""The product of a 1×1 convolution over all positions and images, where the network's other half of the time goes."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from pixelrnn.backend import choose
from pixelrnn.compiled import operators


def linear(
    x: Float[Tensor, "*positions F"], weight: Float[Tensor, "G F"], bias: Float[Tensor, " G"], *, relu: bool
) -> Float[Tensor, "*positions G"]:
    """W·x + b, or W·max(x, 0) + b: compiled, each pass reads and writes a map once, the activation on the way."""
    if choose(x) == "compiled":
        y: Tensor = _Linear.apply(x, weight, bias, relu)
        return y
    return F.linear(F.relu(x) if relu else x, weight, bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
        rows, weight = x.flatten(0, -2).contiguous(), weight.contiguous()
        ctx.save_for_backward(rows, weight)
        ctx.relu = relu
        y: Tensor = operators().linear(rows, weight, bias.contiguous(), relu)
        return y.unflatten(0, x.shape[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        d_rows, d_weight, d_bias = operators().linear_backward(
            *ctx.saved_tensors, dy.flatten(0, -2).contiguous(), ctx.relu
        )
        return d_rows.unflatten(0, dy.shape[:-1]), d_weight, d_bias, None
