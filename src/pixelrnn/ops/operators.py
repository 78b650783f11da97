"""Registers the two operators with PyTorch: `torch.ops.pixelrnn.line_lstm` and `conv`, each with its backward pass.

So `torch.compile`, `torch.export`, `torch.func`, autograd and meta tensors see one operation with known shapes. Second
derivatives and forward-mode derivatives come from the reference.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec
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
HOW = "SymInt height, str layer, str backend, ScalarType factors"
CONV_HOW = "SymInt height, bool relu, ScalarType factors"
SCHEMAS = {
    "line_lstm": f"({OPERANDS}, {HOW}, bool keep) -> (Tensor, Tensor)",
    "line_lstm_backward": f"({OPERANDS}, Tensor saved, Tensor d_output, {HOW}) -> ({', '.join(['Tensor'] * 5)})",
    "conv": f"(Tensor x, Tensor weight, Tensor bias, Tensor? plus, {CONV_HOW}) -> Tensor",
    "conv_backward": f"(Tensor x, Tensor weight, Tensor dy, {CONV_HOW}, bool wants_dx) -> (Tensor, Tensor, Tensor)",
}

SHAPES: dict[str, dict[str, tuple[str | int, ...]]] = {
    "line_lstm": {
        "x": ("N", "B", "F"),
        "input_to_state": ("D", "S", "F", "4h"),
        "bias": ("D", "4h"),
        "state_to_state": ("D", "T", "h", "4h"),
        "initial": ("D", 2, "h"),
        "d_output": ("N", "B", "h"),
    },
    "conv": {
        "x": ("N", "B", "F"),
        "weight": ("G", "F", "rows", "columns"),
        "bias": ("G",),
        "plus": ("N", "B", "G"),
        "dy": ("N", "B", "G"),
    },
}
"""The tensors of both operators, with their shapes."""

SIZES: dict[str, dict[str | int, int]] = {"row": {"D": 1, "S": 2, "T": 3}, "diagonal": {"D": 2, "S": 1, "T": 2}}
"""Directions D, input taps S and taps T of each layer."""

SMALL = 2**18
"""On a CPU, a line with fewer gates than this (all images and directions) runs faster on one thread."""


# The computations. Inputs that pass `check` cannot crash the process, whatever their values.


def line_lstm(*given: Any) -> tuple[Tensor, Tensor]:
    """Returns the output, and what the backward pass needs (empty unless ``keep``)."""
    *operands, height, layer, backend, factors, keep = given
    image = check("line_lstm", operands, height, backend, factors, layer)
    output, saved = _line_lstm_shapes(*given[:9], keep or backend != "cpu")
    if not output.numel():
        return output, saved
    if backend == "cpu":
        how = factors, torch.get_num_threads(), *image, layer, output.shape[2]
        cpu.call("line_lstm", *how, *operands, output, saved if keep else None)
        return output, saved
    x, kis, bias, kss, initial = operands
    lines = _lines(x, height, layer)
    with one_thread(when=_is_small(lines, bias, x)), _autocast(x, factors):
        scan = _scans(backend, x, initial, layer).scan
        output = manual.line_lstm(x, kis, bias, kss, initial, lines, saved, scan)
    return output, saved if keep else saved.new_empty(0)


def line_lstm_backward(*given: Any) -> Tensors:
    """Returns the gradients of x, Kis, its bias, Kss and the initial states."""
    *operands, saved, d_output, height, layer, backend, factors = given
    image = check("line_lstm", [*operands, d_output], height, backend, factors, layer)
    gradients = _line_lstm_backward_shapes(*operands)
    if not d_output.numel():
        return tuple(map(torch.zeros_like, gradients))
    if not saved.numel():  # the forward pass ran with keep=False
        saved = line_lstm(*operands, *given[7:], True)[1]
    room = _line_lstm_shapes(*operands, *given[7:], True)[1]
    if (saved.shape, saved.dtype, saved.device) != (room.shape, room.dtype, room.device) or not saved.is_contiguous():
        raise InputError(f"line_lstm: saved has shape {tuple(saved.shape)}, expected what the forward pass returned")
    x, kis, bias, kss, initial = operands
    if backend == "cpu":
        how = factors, torch.get_num_threads(), *image, layer, initial.shape[2]
        cpu.call("line_lstm_backward", *how, *operands, saved, d_output, *gradients)
        return gradients
    lines = _lines(x, height, layer)
    with one_thread(when=_is_small(lines, bias, x)), _autocast(x, factors):
        scan = _scans(backend, x, initial, layer).scan_backward
        found = manual.line_lstm_backward(x, kis, kss, initial, saved, d_output, lines, scan)
    return tuple(gradient.contiguous() for gradient in found)


def conv(*given: Any) -> Tensor:
    """Returns the convolution, computed in C++."""
    *tensors, height, relu, factors = given
    image = check("conv", tensors, height, "cpu", factors)
    y = _conv_shapes(*tensors)
    if y.numel():
        cpu.call("conv", factors, torch.get_num_threads(), *image, *_window(tensors[1]), relu, *tensors, y)
    return y


def conv_backward(*given: Any) -> Tensors:
    """Returns the gradients of x (empty unless ``wants_dx``), of the weight and of the bias."""
    x, weight, dy, height, relu, factors, wants_dx = given
    image = check("conv", [x, weight, None, None, dy], height, "cpu", factors)
    dx, *others = _conv_backward_shapes(*given)
    if not dy.numel():
        return dx, *map(torch.zeros_like, others)
    how = factors, torch.get_num_threads(), *image, *_window(weight), relu
    cpu.call("conv_backward", *how, x, weight, dy, dx if wants_dx else None, *others)
    return dx, *others


def reference_line_lstm(*given: Any) -> Tensor:
    """Returns the output of the reference, under autograd and in the precision of the operands."""
    *operands, height, layer = given
    x, kis, bias, kss, initial = operands
    check("line_lstm", operands, height, "reference", x.dtype, layer)
    with _autocast(x, x.dtype):
        if not x.shape[0]:
            return x @ kis[0, 0, :, : initial.shape[2]]
        return reference.line_lstm(x, kis, bias, kss, initial, _lines(x, height, layer))


def _lines(x: Tensor, height: int, layer: Layer) -> Lines:
    return LAYERS[layer](int(height), int(x.shape[0]) // int(height))


def _window(weight: Tensor) -> tuple[int, int, int]:
    """The output features of a kernel, its rows above the centre, and its columns on each side."""
    out, _, rows, columns = weight.shape
    return out, rows // 2, columns // 2


def _is_small(lines: Lines, bias: Tensor, x: Tensor) -> bool:
    return x.device.type == "cpu" and lines.extent * x.shape[1] * bias.numel() < SMALL


def is_autocast(x: Tensor) -> bool:
    """True if `torch.autocast` is on for the device of x."""
    device = x.device.type  # `torch.compile` cannot trace `torch.amp.is_autocast_available`
    return device in ("cpu", "cuda", "mps", "xpu") and torch.is_autocast_enabled(device)


def _autocast(x: Tensor, factors: torch.dtype) -> Any:
    """Rounds factors of products to this type. The user's autocast has ended by the time the backward pass runs."""
    available, enabled = torch.amp.is_autocast_available(x.device.type), factors != x.dtype
    return torch.autocast(x.device.type, torch.bfloat16, enabled=enabled) if available else nullcontext()


def _scans(backend: str, x: Tensor, initial: Tensor, layer: Layer) -> Any:
    """The module with the two scans: `triton` if it is selected or works here, otherwise `manual`."""
    if backend == "triton" or (backend == "auto" and x.is_cuda and find_spec("triton")):
        from pixelrnn.ops import triton

        if triton.works(x, initial.shape[2], layer, named=backend == "triton"):
            return triton
    return manual


def check(
    operator: str, tensors: Sequence[Tensor | None], height: int, backend: str, factors: torch.dtype, layer: str = ""
) -> tuple[int, int, int, int]:
    """Checks the tensors of an operator, x first, and returns H, W, B and F of the map x.

    Raises InputError unless height divides the positions of x, all shapes match, all tensors share one floating type
    and one device, and the backend supports them.
    """
    if operator == "line_lstm" and layer not in SIZES:
        raise InputError(f"{operator}: unknown layer {layer!r}, expected one of {', '.join(SIZES)}")
    given = {name: tensor for name, tensor in zip(SHAPES[operator], tensors, strict=False) if tensor is not None}
    x, sizes = given["x"], {2: 2, **SIZES.get(layer, {})}
    dtype, device = x.dtype, x.device
    for name, tensor in given.items():
        shape, names = tuple(tensor.shape), SHAPES[operator][name]
        if len(shape) != len(names) or shape != tuple(map(sizes.setdefault, names, shape)):
            expected = ", ".join(str(sizes.get(size, size)) for size in names)
            raise InputError(f"{operator}: {name} has shape {shape}, expected ({expected})")
        if tensor.dtype != dtype or tensor.device != device:
            both = f"x is {dtype} on {device}, {name} {tensor.dtype} on {tensor.device}"
            raise InputError(f"{operator}: {both}, expected one floating type on one device")
    positions, batch, features = x.shape
    if layer and sizes["4h"] != 4 * sizes["h"]:
        raise InputError(f"{operator}: bias has 4h = {sizes['4h']}, but initial has h = {sizes['h']}")
    if empty := [size for size, n in sizes.items() if not n and size not in ("N", "B")]:
        raise InputError(f"{operator}: {empty[0]} is 0, expected at least 1")
    if not layer and not sizes["rows"] % 2 == sizes["columns"] % 2 == 1:
        raise InputError(f"{operator}: the kernel is {sizes['rows']}×{sizes['columns']}, expected odd sizes")
    if height < 0 or (positions and (height < 1 or positions % height)):
        raise InputError(f"{operator}: height is {height}, expected a positive divisor of x's {positions} positions")
    if backend not in ("auto", "reference", "manual", "cpu", "triton") or not dtype.is_floating_point:
        raise InputError(f"{operator}: x is {dtype}, backend {backend!r}; expected a floating type and a known backend")
    if factors not in (dtype, torch.bfloat16 if dtype == torch.float32 else dtype):
        raise InputError(f"{operator}: factors is {factors}, expected {dtype}, or bfloat16 if x is float32")
    if backend == "cpu" and not cpu.available:
        raise InputError(f"{operator}: the compiled library is not available: {cpu.variant}")
    if backend == "cpu" and not (device.type == "cpu" and dtype in (torch.float32, torch.float64)):
        expected = "float32 or float64 on a CPU for the compiled library"
        raise InputError(f"{operator}: x is {dtype} on {device}, expected {expected}")
    return height, positions // max(1, height), batch, features


# The shapes of the results, for tensors without values.


def _line_lstm_shapes(*given: Any) -> Tensors:
    x, _, _, _, initial, _, _, backend, factors, keep = given
    (positions, batch, _), (directions, _, hidden) = x.shape, initial.shape
    # The gates, cells and states of all positions; then a grain where the C++ notes its division of the batch.
    padded, more = (-(-hidden // cpu.GRAIN) * cpu.GRAIN, cpu.GRAIN) if backend == "cpu" else (hidden, 0)
    saved = directions * positions * batch * 6 * padded + more if keep else 0
    return x.new_empty(positions, batch, hidden), x.new_empty(saved, dtype=factors if backend == "cpu" else x.dtype)


def _line_lstm_backward_shapes(*given: Any) -> Tensors:
    return tuple(operand.new_empty(operand.shape) for operand in given[:5])


def _conv_shapes(x: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], weight.shape[0])


def _conv_backward_shapes(x: Tensor, weight: Tensor, *others: Any) -> Tensors:
    return x.new_empty(x.shape if others[-1] else 0), weight.new_empty(weight.shape), x.new_empty(weight.shape[0])


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
