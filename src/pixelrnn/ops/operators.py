"""Registers the two operators with PyTorch: `torch.ops.pixelrnn.line_lstm` and `conv`, each with its backward pass.

So `torch.compile`, `torch.export`, `torch.func`, autograd and meta tensors see one operation with known shapes. Second
derivatives and forward-mode derivatives come from the reference.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad

from pixelrnn.errors import InputError
from pixelrnn.ops import kernels, reference
from pixelrnn.ops.kernels import Tensors, reference_line_lstm
from pixelrnn.ops.lines import Layer

Gradients = tuple[Tensor | None, ...]

OPERANDS = "Tensor x, Tensor input_to_state, Tensor bias, Tensor state_to_state, Tensor initial"
HOW = "SymInt height, str layer, str backend, ScalarType factors"
CONV_HOW = "SymInt height, bool relu, ScalarType factors"
SCHEMAS = {
    "line_lstm": f"({OPERANDS}, {HOW}, bool keep) -> (Tensor, Tensor)",
    "line_lstm_backward": f"({OPERANDS}, Tensor saved, Tensor d_output, {HOW}) -> ({', '.join(['Tensor'] * 5)})",
    "conv": f"(Tensor x, Tensor weight, Tensor bias, Tensor? plus, {CONV_HOW}) -> Tensor",
    "conv_backward": f"(Tensor x, Tensor weight, Tensor dy, {CONV_HOW}, bool wants_dx) -> (Tensor, Tensor, Tensor)",
}


# Derivatives: `_context` saves what the backward pass needs, `_gradients` returns the gradients of the inputs.


def _line_lstm_context(ctx: Any, given: Sequence[Any], output: Tensors) -> None:
    ctx.save_for_backward(*given[:5], output[1])
    ctx.how = given[5:9]
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _line_lstm_gradients(ctx: Any, d_output: Tensor | None, _: Tensor | None) -> Gradients:
    if d_output is None:
        return (None,) * 10
    return *torch.ops.pixelrnn.line_lstm_backward(*ctx.saved_tensors, d_output, *ctx.how), *[None] * 5


def _line_lstm_backward_context(ctx: Any, given: Sequence[Any], output: Tensors) -> None:
    ctx.save_for_backward(*given[:5], given[6])
    ctx.how = given[7:9]  # height and layer


def _line_lstm_backward_gradients(ctx: Any, *gradients: Tensor) -> Gradients:
    *second, of_d_output = _second(partial(_line_lstm_first, *ctx.how), ctx.saved_tensors, gradients)
    return *second, None, of_d_output, *[None] * 4


def _conv_context(ctx: Any, given: Sequence[Any], output: Tensor) -> None:
    ctx.save_for_backward(*given[:2])
    ctx.how = given[4:]


def _conv_gradients(ctx: Any, dy: Tensor) -> Gradients:
    of_x, _, _, of_plus, *_ = ctx.needs_input_grad
    dx, d_weight, d_bias = torch.ops.pixelrnn.conv_backward(*ctx.saved_tensors, dy, *ctx.how, of_x)
    return dx if of_x else None, d_weight, d_bias, dy if of_plus else None, None, None, None


def _conv_backward_context(ctx: Any, given: Sequence[Any], output: Tensors) -> None:
    ctx.save_for_backward(*given[:3])
    ctx.height, ctx.relu, _, ctx.wants_dx = given[3:]


def _conv_backward_gradients(ctx: Any, d_x: Tensor, d_weight: Tensor, d_bias: Tensor) -> Gradients:
    gradients = d_x if ctx.wants_dx else torch.zeros_like(ctx.saved_tensors[0]), d_weight, d_bias
    return *_second(partial(_conv_first, ctx.height, ctx.relu), ctx.saved_tensors, gradients), *[None] * 4


# The same through the reference, which PyTorch can differentiate: for second and for forward-mode derivatives.


def _line_lstm_by_reference(*given: Any) -> Tensors:
    return reference_line_lstm(*given[:7]), given[0].new_empty(0)


def _line_lstm_first(height: int, layer: Layer, *given: Tensor) -> Tensors:
    """Returns the gradients of the operands; ``given`` is the operands and the gradient of the output."""
    *operands, d_output = given
    return torch.func.vjp(lambda *operands: reference_line_lstm(*operands, height, layer), *operands)[1](d_output)


def _conv_by_reference(*given: Any) -> Tensor:
    return reference.conv(*given[:6]).to(given[0].dtype)  # which autocast has rounded


def _conv_first(height: int, relu: bool, x: Tensor, weight: Tensor, dy: Tensor) -> Tensors:
    """Returns the gradients of x, of the weight and of the bias."""
    bias = x.new_zeros(len(weight))
    return torch.func.vjp(lambda x, w, b: reference.conv(x, w, b, None, height, relu), x, weight, bias)[1](dy)


def _forward_over_reverse(*given: Any) -> Tensors:
    # This would have to differentiate the reference, and PyTorch allows no transform inside an operator.
    raise InputError(
        "the backward pass has no forward-mode derivative, which torch.func.hessian takes: use jacrev(jacrev(f)), or "
        'compute within pixelrnn.ops.backend("reference")'
    )


def _second(first: Callable[..., Tensors], saved: Tensors, gradients: Tensors) -> Tensors:
    """Second derivatives: back-propagates ``gradients`` through ``first``, the function of the first derivatives."""
    return torch.func.vjp(first, *saved)[1](gradients)


def _has_tangent(a: Any) -> bool:
    return isinstance(a, Tensor) and forward_ad.unpack_dual(a).tangent is not None


def _register(
    name: str,
    compute: Callable[..., Any],
    shapes: Callable[..., Any],
    by_reference: Callable[..., Any],
    context: Callable[..., None],
    gradients: Any,
) -> None:
    full = f"pixelrnn::{name}"
    torch.library.define(full, SCHEMAS[name])
    torch.library.impl(full, "CompositeExplicitAutograd", compute)
    torch.library.register_fake(full, shapes)
    operator = getattr(torch.ops.pixelrnn, name).default

    def one_by_one(info: Any, in_dims: Sequence[int | None], *given: Any) -> tuple[Any, Any]:
        """The vmap rule: loops over the mapped dimension."""
        if not info.batch_size:
            raise InputError(f"{full}: vmap maps a dimension of size 0, expected at least 1")
        results = [
            operator(*(a if d is None else a.select(d, n) for a, d in zip(given, in_dims, strict=True)))
            for n in range(info.batch_size)
        ]
        if isinstance(results[0], Tensor):
            return torch.stack(results), 0
        return tuple(map(torch.stack, zip(*results, strict=True))), (0,) * len(results[0])

    torch.library.register_vmap(full, one_by_one)

    # `torch.library.register_autograd` would not work: `torch.func` differentiates level by level and refuses an
    # `autograd.Function` that spans all levels. At the autograd key one level is left.
    def forward(ctx: Any, *given: Any) -> Any:
        # A Function disables derivatives of both modes here, but the outer levels of nested transforms need them.
        is_outer = torch._C._are_functorch_transforms_active()
        with (
            torch.set_grad_enabled(is_outer),
            forward_ad._set_fwd_grad_enabled(is_outer),
            torch._C._AutoDispatchBelowAutograd(),
        ):
            result = operator(*given)
        context(ctx, given, result)
        return result

    methods = {"forward": staticmethod(forward), "backward": staticmethod(gradients)}
    function: Any = type(f"{name}_autograd", (torch.autograd.function._SingleLevelFunction,), methods)

    def differentiable(*given: Any) -> Any:
        if forward_ad._current_level >= 0 and any(map(_has_tangent, given)):
            return by_reference(*given)
        if not (torch.is_grad_enabled() and any(a.requires_grad for a in given if isinstance(a, Tensor))):
            with torch._C._AutoDispatchBelowAutograd():
                return operator(*given)
        with enable_single_level_autograd_function():
            return function.apply(*given)

    torch.library.impl(full, "Autograd", differentiable)


_register(
    "line_lstm",
    kernels.line_lstm,
    kernels.line_lstm_shapes,
    _line_lstm_by_reference,
    _line_lstm_context,
    _line_lstm_gradients,
)
_register(
    "line_lstm_backward",
    kernels.line_lstm_backward,
    kernels.line_lstm_backward_shapes,
    _forward_over_reverse,
    _line_lstm_backward_context,
    _line_lstm_backward_gradients,
)
_register("conv", kernels.conv, kernels.conv_shapes, _conv_by_reference, _conv_context, _conv_gradients)
_register(
    "conv_backward",
    kernels.conv_backward,
    kernels.conv_backward_shapes,
    _forward_over_reverse,
    _conv_backward_context,
    _conv_backward_gradients,
)

line_lstm, conv = torch.ops.pixelrnn.line_lstm, torch.ops.pixelrnn.conv
