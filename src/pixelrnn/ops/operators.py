"""The two operators as PyTorch knows them: `torch.ops.pixelrnn.line_lstm` and `conv`, each with its backward pass.

They are registered with `torch.library`, so that `torch.compile`, `torch.export`, `torch.func`, autograd and meta
tensors see one operation with known shapes. Second and forward-mode derivatives are those of the reference.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad

from pixelrnn.errors import InputError
from pixelrnn.ops import cpu, manual, reference
from pixelrnn.ops.lines import LAYERS, Layer, Lines
from pixelrnn.ops.threads import one_thread

Tensors = tuple[Tensor, ...]
Gradients = tuple[Tensor | None, ...]

OPERANDS = "Tensor x, Tensor input_to_state, Tensor bias, Tensor state_to_state, Tensor initial"
HOW = "SymInt height, str layer, bool compiled, bool bfloat16"
SCHEMAS = {
    "line_lstm": f"({OPERANDS}, {HOW}, bool keep) -> (Tensor, Tensor)",
    "line_lstm_backward": f"({OPERANDS}, Tensor saved, Tensor d_output, {HOW}) -> ({', '.join(['Tensor'] * 5)})",
    "conv": "(Tensor x, Tensor weight, Tensor bias, Tensor? plus, SymInt height, bool relu, bool bfloat16) -> Tensor",
    "conv_backward": "(Tensor x, Tensor weight, Tensor dy, SymInt height, bool relu, bool bfloat16, bool wants_dx) "
    "-> (Tensor, Tensor, Tensor)",
}

SIZES = {"row": (1, 2, 3), "diagonal": (2, 1, 2)}
"""Directions D, input taps S and taps T of each layer."""

SMALL = 2**18
"""Gates of a line, of all images and directions, below which threads on a CPU cost more than they give."""


# What each operator computes. Nothing that passes the checks can end the process, whatever the tensors hold.


def line_lstm(*given: Any) -> tuple[Tensor, Tensor]:
    """The output, and what the backward pass needs (nothing unless it is to be kept)."""
    x, kis, bias, kss, initial, height, layer, compiled, bfloat16, keep = given
    operands = x, kis, bias, kss, initial
    _check_line_lstm(operands, height, layer, compiled)
    saved = _room(x, initial, bfloat16 and compiled, keep or not compiled)
    if not x.shape[0] * x.shape[1]:
        return x.new_empty(*x.shape[:2], initial.shape[2]), saved
    if compiled:
        return cpu.line_lstm(*operands, height, layer, bfloat16, saved if keep else None), saved
    lines = _lines(x, height, layer)
    with one_thread(when=_is_small(lines, bias, x)), _without_autocast(x):
        output = manual.line_lstm(*operands, lines, saved)
    return output, saved if keep else saved.new_empty(0)


def line_lstm_backward(*given: Any) -> Tensors:
    """The gradients of x, Kis, its bias, Kss and the initial states."""
    x, kis, bias, kss, initial, saved, d_output, height, layer, compiled, bfloat16 = given
    operands = x, kis, bias, kss, initial
    _check_line_lstm(operands, height, layer, compiled)
    _check("line_lstm", False, height, x, ("d_output", d_output, (*x.shape[:2], initial.shape[2])))
    if not x.shape[0] * x.shape[1]:
        return tuple(map(torch.zeros_like, operands))
    if not saved.numel():  # the forward pass did not know that there would be a backward pass
        saved = line_lstm(*operands, height, layer, compiled, bfloat16, True)[1]
    room = _room(x, initial, bfloat16 and compiled, True)
    if (saved.shape, saved.dtype, saved.device) != (room.shape, room.dtype, room.device) or not saved.is_contiguous():
        raise InputError(f"line_lstm: saved is {tuple(saved.shape)}, expected what the forward pass gave")
    if compiled:
        return cpu.line_lstm_backward(*operands, saved, d_output, height, layer, bfloat16)
    lines = _lines(x, height, layer)
    with one_thread(when=_is_small(lines, bias, x)), _without_autocast(x):
        gradients = manual.line_lstm_backward(x, kis, kss, initial, saved, d_output, lines)
    return tuple(gradient.contiguous() for gradient in gradients)


def conv(*given: Any) -> Tensor:
    """The convolution, in C++."""
    x, weight, bias, plus, height, _, _ = given
    check_conv(x, weight, bias, plus, height, compiled=True)
    return cpu.conv(*given) if x.shape[0] * x.shape[1] else x.new_empty(*x.shape[:2], len(weight))


def conv_backward(*given: Any) -> Tensors:
    """The gradients of x (empty unless it is wanted), of the weight and of the bias."""
    x, weight, dy, height, _, _, wants_dx = given
    _check_conv(x, weight, height, True, ("dy", dy, (*x.shape[:2], len(weight))))
    if x.shape[0] * x.shape[1]:
        return cpu.conv_backward(*given)
    return x.new_empty(x.shape if wants_dx else 0), torch.zeros_like(weight), x.new_zeros(len(weight))


def reference_line_lstm(*given: Any) -> Tensor:
    """The output by the reference, under autograd and in the precision of its weights."""
    x, kis, bias, kss, initial, height, layer = given
    operands = x, kis, bias, kss, initial
    _check_line_lstm(operands, height, layer, False)
    with _without_autocast(x):
        if not x.shape[0]:
            return x @ kis[0, 0, :, : initial.shape[2]]
        return reference.line_lstm(*operands, _lines(x, height, layer))


def _lines(x: Tensor, height: int, layer: Layer) -> Lines:
    return LAYERS[layer](int(height), int(x.shape[0]) // int(height))


def _room(x: Tensor, initial: Tensor, bfloat16: bool, keep: bool) -> Tensor:
    """Where the gates, cells and states of all positions are kept for the backward pass."""
    size = cpu.saved_size(x.shape[0], x.shape[1], len(initial), initial.shape[2]) if keep else 0
    return x.new_empty(size, dtype=torch.bfloat16 if bfloat16 and x.dtype == torch.float32 else x.dtype)


def _is_small(lines: Lines, bias: Tensor, x: Tensor) -> bool:
    return x.device.type == "cpu" and lines.extent * x.shape[1] * bias.numel() < SMALL


def _without_autocast(x: Tensor) -> Any:
    available = torch.amp.is_autocast_available(x.device.type)
    return torch.autocast(x.device.type, enabled=False) if available else nullcontext()


Expected = tuple[str, Tensor, Sequence[int]]


def _check(operator: str, compiled: bool, height: int, x: Tensor, *expected: Expected) -> None:
    """Raises InputError unless x makes an image and all tensors have their shapes, one floating type and one device."""
    dtype, device, positions = x.dtype, x.device, x.shape[0]
    for name, tensor, shape in expected:
        if tensor.shape != shape:
            raise InputError(f"{operator}: {name} has shape {tuple(tensor.shape)}, expected {tuple(shape)}")
        if tensor.dtype != dtype or tensor.device != device:
            given = f"x is {dtype} on {device}, {name} {tensor.dtype} on {tensor.device}"
            raise InputError(f"{operator}: {given}, expected one floating type on one device")
    if height < 0 or (positions and (height < 1 or positions % height)):
        raise InputError(f"{operator}: {positions} positions make no image of height {height}")
    if not dtype.is_floating_point:
        raise InputError(f"{operator}: x is {dtype}, expected a floating type")
    if compiled and not (cpu.available and device.type == "cpu" and dtype in (torch.float32, torch.float64)):
        why = f"is for float32 and float64 on a CPU, not {dtype} on {device}"
        raise InputError(f"{operator}: the compiled library {why if cpu.available else 'is not here: ' + cpu.variant}")


def _check_line_lstm(operands: Sequence[Tensor], height: int, layer: str, compiled: bool) -> None:
    x, kis, bias, kss, initial = operands
    if layer not in SIZES:
        raise InputError(f"line_lstm: unknown layer {layer!r}, expected one of {', '.join(SIZES)}")
    if x.ndim != 3 or initial.ndim != 3 or 0 in (x.shape[2], initial.shape[2]):
        given = f"x has shape {tuple(x.shape)}, initial {tuple(initial.shape)}"
        raise InputError(f"line_lstm: {given}, expected (N, B, F) and (D, 2, h), F and h at least 1")
    (d, s, t), features, hidden = SIZES[layer], x.shape[2], initial.shape[2]
    weights = ("input_to_state", kis, (d, s, features, 4 * hidden)), ("bias", bias, (d, 4 * hidden))
    states = ("state_to_state", kss, (d, t, hidden, 4 * hidden)), ("initial", initial, (d, 2, hidden))
    _check("line_lstm", compiled, height, x, *weights, *states)


def check_conv(
    x: Tensor, weight: Tensor, bias: Tensor, plus: Tensor | None, height: int, *, compiled: bool = False
) -> None:
    """Raises InputError unless these make a convolution."""
    kind = x.device.type
    if not compiled and torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):  # which converts
        weight, bias, plus = weight.to(x.dtype), bias.to(x.dtype), None if plus is None else plus.to(x.dtype)
    added = () if plus is None else (("plus", plus, (*x.shape[:2], *weight.shape[:1])),)
    _check_conv(x, weight, height, compiled, ("bias", bias, weight.shape[:1]), *added)


def _check_conv(x: Tensor, weight: Tensor, height: int, compiled: bool, *others: Expected) -> None:
    kernel = weight.shape
    if x.ndim != 3 or len(kernel) != 4 or 0 in (x.shape[2], *kernel) or not kernel[2] % 2 == kernel[3] % 2 == 1:
        given = f"x has shape {tuple(x.shape)}, weight {tuple(kernel)}"
        raise InputError(f"conv: {given}, expected (N, B, F) and (G, F, rows, columns), F and G at least 1, both odd")
    _check("conv", compiled, height, x, ("weight", weight, (kernel[0], x.shape[2], *kernel[2:])), *others)


# Their shapes, without computing them.


def _line_lstm_shapes(*given: Any) -> Tensors:
    x, _, _, _, initial, _, _, compiled, bfloat16, keep = given
    return x.new_empty(x.shape[0], x.shape[1], initial.shape[2]), _room(x, initial, bfloat16 and compiled, keep)


def _line_lstm_backward_shapes(*given: Any) -> Tensors:
    return tuple(operand.new_empty(operand.shape) for operand in given[:5])


def _conv_shapes(x: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], weight.shape[0])


def _conv_backward_shapes(x: Tensor, weight: Tensor, *others: Any) -> Tensors:
    return x.new_empty(x.shape if others[-1] else 0), weight.new_empty(weight.shape), x.new_empty(weight.shape[0])


# Their derivatives: what is remembered of a call, and the gradients of its inputs.


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
    ctx.how = given[7:9]


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


# The same by the reference, whose derivatives PyTorch knows: for second and for forward-mode derivatives.


def _line_lstm_by_reference(*given: Any) -> Tensors:
    return reference_line_lstm(*given[:7]), given[0].new_empty(0)


def _line_lstm_first(height: int, layer: Layer, *given: Tensor) -> Tensors:
    """The gradients of the operands, from them and the gradient of the output."""
    *operands, d_output = given
    return torch.func.vjp(lambda *operands: reference_line_lstm(*operands, height, layer), *operands)[1](d_output)


def _conv_by_reference(*given: Any) -> Tensor:
    return reference.conv(*given[:6])


def _conv_first(height: int, relu: bool, x: Tensor, weight: Tensor, dy: Tensor) -> Tensors:
    """The gradients of x, of the weight and of the bias, from the first two and the gradient of y."""
    bias = x.new_zeros(len(weight))
    return torch.func.vjp(lambda x, w, b: reference.conv(x, w, b, None, height, relu), x, weight, bias)[1](dy)


def _forward_over_reverse(*given: Any) -> Tensors:
    # The reference would have to be differentiated in here, and PyTorch opens no transform within an operator.
    raise InputError(
        "torch.func.hessian takes forward-mode derivatives of a backward pass, which the operators do not have: take "
        'jacrev of jacrev, or compute with pixelrnn.ops.backend("reference")'
    )


def _second(first: Callable[..., Tensors], saved: Tensors, gradients: Tensors) -> Tensors:
    """The derivatives of the first derivatives, from the gradients of these."""
    return torch.func.vjp(first, *saved)[1](gradients)


PLAIN = {Tensor, torch.nn.Parameter, int, bool, str, type(None)}


def _is_watched(given: Sequence[Any]) -> bool:
    """Whether something below the autograd key sees an operation: a tracer, a transform, a tensor of another kind."""
    if torch._C._len_torch_dispatch_stack() or torch._C._are_functorch_transforms_active():
        return True
    if not PLAIN.issuperset(map(type, given)):
        return True
    return any(a.is_neg() or a._is_zerotensor() for a in given if isinstance(a, Tensor))


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
        """Under vmap: for one element of the mapped dimension after the other."""
        if not info.batch_size:
            raise InputError(f"{full}: vmap over a dimension of size 0")
        results = [
            operator(*(a if d is None else a.select(d, n) for a, d in zip(given, in_dims, strict=True)))
            for n in range(info.batch_size)
        ]
        if isinstance(results[0], Tensor):
            return torch.stack(results), 0
        return tuple(map(torch.stack, zip(*results, strict=True))), (0,) * len(results[0])

    torch.library.register_vmap(full, one_by_one)

    # Not `torch.library.register_autograd`: the transforms of `torch.func` differentiate level by level, and refuse its
    # `autograd.Function`, which looks at all of them. At the autograd key one level is left.
    def below(*given: Any) -> Any:
        if not _is_watched(given):
            return compute(*given)
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*given)

    def forward(ctx: Any, *given: Any) -> Any:
        # A Function disables gradients here, which the outer levels of nested transforms want.
        with torch.set_grad_enabled(torch._C._are_functorch_transforms_active()):
            result = below(*given)
        context(ctx, given, result)
        return result

    methods = {"forward": staticmethod(forward), "backward": staticmethod(gradients)}
    function: Any = type(f"{name}_autograd", (torch.autograd.function._SingleLevelFunction,), methods)

    def differentiable(*given: Any) -> Any:
        if forward_ad._current_level >= 0 and any(map(_has_tangent, given)):
            return by_reference(*given)
        if not (torch.is_grad_enabled() and any(a.requires_grad for a in given if isinstance(a, Tensor))):
            return below(*given)
        with enable_single_level_autograd_function():
            return function.apply(*given)

    torch.library.impl(full, "Autograd", differentiable)


_register("line_lstm", line_lstm, _line_lstm_shapes, _line_lstm_by_reference, _line_lstm_context, _line_lstm_gradients)
_register(
    "line_lstm_backward",
    line_lstm_backward,
    _line_lstm_backward_shapes,
    _forward_over_reverse,
    _line_lstm_backward_context,
    _line_lstm_backward_gradients,
)
_register("conv", conv, _conv_shapes, _conv_by_reference, _conv_context, _conv_gradients)
_register(
    "conv_backward",
    conv_backward,
    _conv_backward_shapes,
    _forward_over_reverse,
    _conv_backward_context,
    _conv_backward_gradients,
)
