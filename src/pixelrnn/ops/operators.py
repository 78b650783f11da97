"""The two operators as PyTorch knows them: `torch.ops.pixelrnn.line_lstm` and `conv`, each with its backward pass.

They are registered with `torch.library`, so that `torch.compile`, `torch.export`, `torch.func`, autograd and meta
tensors see one operation with known shapes. Second derivatives are those of the reference. Forward-mode derivatives are
not registered: take those ``with backend("reference")``.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch._functorch.autograd_function import enable_single_level_autograd_function

from pixelrnn.errors import InputError
from pixelrnn.ops import cpu, manual, reference
from pixelrnn.ops.lines import LAYERS, Layer, Lines
from pixelrnn.ops.threads import one_thread

Gradients = tuple[Tensor | None, ...]

LINE_LSTM = "Tensor x, Tensor input_to_state, Tensor bias, Tensor state_to_state, Tensor initial"
HOW = "SymInt height, str layer, bool compiled, bool bfloat16"
for schema in (
    f"line_lstm({LINE_LSTM}, {HOW}, bool keep) -> (Tensor, Tensor)",
    f"line_lstm_backward({LINE_LSTM}, Tensor saved, Tensor d_output, {HOW}) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    "conv(Tensor x, Tensor weight, Tensor bias, Tensor? plus, SymInt height, bool relu, bool bfloat16) -> Tensor",
    "conv_backward(Tensor x, Tensor weight, Tensor dy, SymInt height, bool relu, bool bfloat16, bool wants_dx) "
    "-> (Tensor, Tensor, Tensor)",
):
    name, _, signature = schema.partition("(")
    torch.library.define(f"pixelrnn::{name}", f"({signature}")

SMALL = 2**18
"""Gates of a line, of all images and directions."""

SIZES: dict[str, tuple[int, int, int]] = {"row": (1, 2, 3), "diagonal": (2, 1, 2)}
"""Of each layer: directions D, input taps S, taps T."""


def _check(operator: str, compiled: bool, height: int, expected: dict[str, tuple[Tensor, tuple[Any, ...]]]) -> None:
    """Raises InputError unless x makes an image, and all tensors have their shapes, one floating type and one device.

    Nothing that passes ends the process, whatever the tensors hold.
    """
    x, _ = expected["x"]
    dtype, device, positions = x.dtype, x.device, x.shape[0]
    for name, (tensor, shape) in expected.items():
        if tensor.shape != shape:
            raise InputError(f"{operator}: {name} has shape {tuple(tensor.shape)}, expected {shape}")
        if tensor.dtype != dtype or tensor.device != device:
            given = f"x is {dtype} on {device}, {name} {tensor.dtype} on {tensor.device}"
            raise InputError(f"{operator}: {given}, expected one floating type on one device")
    if height < 0 or (positions and (height < 1 or positions % height)):
        raise InputError(f"{operator}: {positions} positions make no image of height {height}")
    if not dtype.is_floating_point:
        raise InputError(f"{operator}: x is {dtype}, expected a floating type")
    if compiled and not (cpu.available and device.type == "cpu" and dtype in (torch.float32, torch.float64)):
        why = f"is for float32 and float64 on a CPU, not {dtype} on {device}" if cpu.available else cpu.variant
        raise InputError(f"{operator}: the compiled library {why}")


def _check_line_lstm(
    x: Tensor, kis: Tensor, bias: Tensor, kss: Tensor, initial: Tensor, height: int, layer: str, compiled: bool
) -> None:
    if layer not in SIZES:
        raise InputError(f"line_lstm: unknown layer {layer!r}, expected one of {', '.join(SIZES)}")
    if x.ndim != 3 or initial.ndim != 3 or 0 in (x.shape[2], initial.shape[2]):
        given = f"x has shape {tuple(x.shape)}, initial {tuple(initial.shape)}"
        raise InputError(f"line_lstm: {given}, expected (N, B, F) and (D, 2, h), F and h at least 1")
    (d, s, t), features, hidden = SIZES[layer], x.shape[2], initial.shape[2]
    expected = {
        "x": (x, tuple(x.shape)),
        "input_to_state": (kis, (d, s, features, 4 * hidden)),
        "bias": (bias, (d, 4 * hidden)),
        "state_to_state": (kss, (d, t, hidden, 4 * hidden)),
        "initial": (initial, (d, 2, hidden)),
    }
    _check("line_lstm", compiled, height, expected)


def _lines(x: Tensor, height: int, layer: str) -> Lines:
    name: Layer = "row" if layer == "row" else "diagonal"
    return LAYERS[name](int(height), int(x.shape[0]) // int(height))


def _room(x: Tensor, initial: Tensor, bfloat16: bool, keep: bool) -> Tensor:
    """Where the gates, cells and states of all positions are kept for the backward pass."""
    size = cpu.saved_size(x.shape[0], x.shape[1], len(initial), initial.shape[2]) if keep else 0
    return x.new_empty(size, dtype=torch.bfloat16 if bfloat16 else x.dtype)


def _line_lstm(
    x: Tensor,
    kis: Tensor,
    bias: Tensor,
    kss: Tensor,
    initial: Tensor,
    height: int,
    layer: Layer,
    compiled: bool,
    bfloat16: bool,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    _check_line_lstm(x, kis, bias, kss, initial, height, layer, compiled)
    bfloat16 = bfloat16 and compiled and x.dtype == torch.float32
    saved = _room(x, initial, bfloat16, keep or not compiled)
    if not x.shape[0] * x.shape[1]:
        return x.new_empty(*x.shape[:2], initial.shape[2]), saved
    if compiled:
        kept = saved if keep else None
        return cpu.line_lstm(x, kis, bias, kss, initial, height, layer, bfloat16, kept), saved
    lines = _lines(x, height, layer)
    with one_thread(when=_is_small(lines, bias, x)), _without_autocast(x):
        output = manual.line_lstm(x, kis, bias, kss, initial, lines, saved)
    return output, saved if keep else saved.new_empty(0)


def _line_lstm_backward(
    x: Tensor,
    kis: Tensor,
    bias: Tensor,
    kss: Tensor,
    initial: Tensor,
    saved: Tensor,
    d_output: Tensor,
    height: int,
    layer: Layer,
    compiled: bool,
    bfloat16: bool,
) -> tuple[Tensor, ...]:
    _check_line_lstm(x, kis, bias, kss, initial, height, layer, compiled)
    output = (*x.shape[:2], initial.shape[2])
    _check("line_lstm", False, height, {"x": (x, tuple(x.shape)), "d_output": (d_output, output)})
    bfloat16 = bfloat16 and compiled and x.dtype == torch.float32
    operands = x, kis, bias, kss, initial
    if not x.shape[0] * x.shape[1]:
        return tuple(map(torch.zeros_like, operands))
    if not saved.numel():  # the forward pass did not know that there would be a backward pass
        saved = _line_lstm(*operands, height, layer, compiled, bfloat16, True)[1]
    room = _room(x, initial, bfloat16, True)
    if (saved.shape, saved.dtype, saved.device) != (room.shape, room.dtype, room.device) or not saved.is_contiguous():
        raise InputError(
            f"line_lstm: saved has {saved.numel()} numbers, expected the {room.numel()} of the forward pass"
        )
    if compiled:
        return cpu.line_lstm_backward(*operands, saved, d_output, height, layer, bfloat16)
    lines = _lines(x, height, layer)
    with one_thread(when=_is_small(lines, bias, x)), _without_autocast(x):
        gradients = manual.line_lstm_backward(x, kis, kss, initial, saved, d_output, lines)
    return tuple(gradient.contiguous() for gradient in gradients)


def reference_line_lstm(
    x: Tensor, kis: Tensor, bias: Tensor, kss: Tensor, initial: Tensor, layer: Layer, height: int
) -> Tensor:
    """The recurrence by the reference, in the precision of its weights."""
    _check_line_lstm(x, kis, bias, kss, initial, height, layer, False)
    if not x.shape[0]:
        return x.new_zeros(0, x.shape[1], initial.shape[2])
    with _without_autocast(x):
        return reference.line_lstm(x, kis, bias, kss, initial, _lines(x, height, layer))


def _without_autocast(x: Tensor) -> Any:
    available = torch.amp.is_autocast_available(x.device.type)
    return torch.autocast(x.device.type, enabled=False) if available else nullcontext()


def _is_small(lines: Lines, bias: Tensor, x: Tensor) -> bool:
    """Whether a line is computed on a CPU sooner than threads have agreed on who does what."""
    return x.device.type == "cpu" and lines.extent * x.shape[1] * bias.numel() < SMALL


def _check_conv(x: Tensor, weight: Tensor, height: int, others: dict[str, tuple[Tensor, tuple[Any, ...]]]) -> None:
    if x.ndim != 3 or weight.ndim != 4 or 0 in (x.shape[2], *weight.shape) or not all(n % 2 for n in weight.shape[2:]):
        given = f"x has shape {tuple(x.shape)}, weight {tuple(weight.shape)}"
        raise InputError(f"conv: {given}, expected (N, B, F) and (G, F, rows, columns), F and G at least 1, both odd")
    shape = len(weight), x.shape[2], *weight.shape[2:]
    _check("conv", True, height, {"x": (x, tuple(x.shape)), "weight": (weight, shape), **others})


def _conv(
    x: Tensor, weight: Tensor, bias: Tensor, plus: Tensor | None, height: int, relu: bool, bfloat16: bool
) -> Tensor:
    added = {} if plus is None else {"plus": (plus, (*x.shape[:2], len(weight)))}
    _check_conv(x, weight, height, {"bias": (bias, (len(weight),)), **added})
    if not x.shape[0] * x.shape[1]:
        return x.new_empty(*x.shape[:2], len(weight))
    return cpu.conv(x, weight, bias, plus, height, relu, bfloat16)


def _conv_backward(
    x: Tensor, weight: Tensor, dy: Tensor, height: int, relu: bool, bfloat16: bool, wants_dx: bool
) -> tuple[Tensor, Tensor, Tensor]:
    _check_conv(x, weight, height, {"dy": (dy, (*x.shape[:2], len(weight)))})
    if not x.shape[0] * x.shape[1]:
        return x.new_empty(x.shape if wants_dx else 0), torch.zeros_like(weight), x.new_zeros(len(weight))
    return cpu.conv_backward(x, weight, dy, height, relu, bfloat16, wants_dx)


def _line_lstm_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *operands, height, layer, compiled, bfloat16, _ = inputs
    ctx.save_for_backward(*operands, output[1])
    ctx.how = height, layer, compiled, bfloat16
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _line_lstm_gradients(ctx: Any, d_output: Tensor | None, _: Tensor | None) -> Gradients:
    if d_output is None:
        return (None,) * 10
    return *torch.ops.pixelrnn.line_lstm_backward(*ctx.saved_tensors, d_output, *ctx.how), *[None] * 5


def _line_lstm_backward_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *operands, _, d_output, height, layer, _, _ = inputs
    ctx.save_for_backward(*operands, d_output)
    ctx.how = height, layer


def _line_lstm_second(ctx: Any, *gradients: Tensor) -> Gradients:
    height, layer = ctx.how

    def f(*operands: Tensor) -> Tensor:
        return reference.line_lstm(*operands, _lines(operands[0], height, layer))

    *second, of_d_output = _through_reference(f, ctx.saved_tensors, gradients)
    return *second, None, of_d_output, *[None] * 4


def _conv_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, _, *ctx.how = inputs
    ctx.save_for_backward(x, weight)


def _conv_gradients(ctx: Any, dy: Tensor) -> Gradients:
    needs = ctx.needs_input_grad
    dx, d_weight, d_bias = torch.ops.pixelrnn.conv_backward(*ctx.saved_tensors, dy, *ctx.how, needs[0])
    return dx if needs[0] else None, d_weight, d_bias, dy if needs[3] else None, None, None, None


def _conv_backward_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *operands, height, relu, _, wants_dx = inputs
    ctx.save_for_backward(*operands)
    ctx.how = height, relu
    ctx.wants_dx = wants_dx


def _conv_second(ctx: Any, *gradients: Tensor) -> Gradients:
    x, weight, dy = ctx.saved_tensors
    d_x, d_weight, d_bias = gradients

    def f(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return reference.conv(x, weight, bias, None, *ctx.how)

    bias = x.new_zeros(len(weight))
    d_x = d_x if ctx.wants_dx else torch.zeros_like(x)
    of_x, of_weight, _, of_dy = _through_reference(f, (x, weight, bias, dy), (d_x, d_weight, d_bias))
    return of_x, of_weight, of_dy, *[None] * 4


def _through_reference(
    f: Callable[..., Tensor], saved: tuple[Tensor, ...], gradients: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    """The second derivatives: those of f's gradients, by its operands and by the gradient of its output.

    Args:
        f: the operator's reference.
        saved: its operands, and the gradient of its output.
        gradients: of f's gradients.
    """
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # Aliases: what is differentiated a third time goes through them to the originals.
        given = [t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in saved]
        *operands, d_output = given
        first = torch.autograd.grad(f(*operands), operands, d_output, create_graph=True, materialize_grads=True)
        wanted = [(g, d) for g, d in zip(first, gradients, strict=True) if g.requires_grad]
        results, weights = zip(*wanted, strict=True)
        return torch.autograd.grad(results, given, weights, create_graph=again, allow_unused=True)


def _one_by_one(operator: Any) -> Callable[..., Any]:
    """A rule for `torch.vmap`: the operator for one element of the mapped dimension after the other."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        def pick(n: int) -> list[Any]:
            return [a if d is None else a.select(d, n) for a, d in zip(args, in_dims, strict=True)]

        results = [operator(*pick(n)) for n in range(info.batch_size)]
        if isinstance(results[0], Tensor):
            return torch.stack(results), 0
        return tuple(map(torch.stack, zip(*results, strict=True))), (0,) * len(results[0])

    return rule


_KERNELS: dict[str, Callable[..., Any]] = {
    "line_lstm": _line_lstm,
    "line_lstm_backward": _line_lstm_backward,
    "conv": _conv,
    "conv_backward": _conv_backward,
}
for name, kernel in _KERNELS.items():
    torch.library.impl(f"pixelrnn::{name}", "CompositeExplicitAutograd", kernel)
    torch.library.register_vmap(f"pixelrnn::{name}", _one_by_one(getattr(torch.ops.pixelrnn, name)))


@torch.library.register_fake("pixelrnn::line_lstm")
def _(
    x: Tensor, kis: Tensor, b: Tensor, kss: Tensor, initial: Tensor, height: int, layer: str, compiled: bool,
    bfloat16: bool, keep: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    bfloat16 = bfloat16 and compiled and x.dtype == torch.float32
    return x.new_empty(x.shape[0], x.shape[1], initial.shape[2]), _room(x, initial, bfloat16, keep)


@torch.library.register_fake("pixelrnn::line_lstm_backward")
def _(x: Tensor, kis: Tensor, bias: Tensor, kss: Tensor, initial: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape) for t in (x, kis, bias, kss, initial))


@torch.library.register_fake("pixelrnn::conv")
def _(x: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], weight.shape[0])


@torch.library.register_fake("pixelrnn::conv_backward")
def _(
    x: Tensor, weight: Tensor, dy: Tensor, height: int, relu: bool, bfloat16: bool, wants_dx: bool
) -> tuple[Tensor, Tensor, Tensor]:
    dx = x.new_empty(x.shape if wants_dx else 0)
    return dx, weight.new_empty(weight.shape), x.new_empty(weight.shape[0])


def _register_autograd(name: str, context: Callable[..., None], gradients: Callable[..., Gradients]) -> None:
    """What `torch.library.register_autograd` does, and for the transforms of `torch.func` as well.

    They differentiate level by level. At the autograd key one level is left, for which PyTorch's ordinary
    `autograd.Function`, that looks at all of them, refuses to work.
    """
    operator = getattr(torch.ops.pixelrnn, name).default

    def forward(ctx: Any, *args: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            result = operator(*args)
        context(ctx, args, result)
        return result

    methods = {"forward": staticmethod(forward), "backward": staticmethod(gradients)}
    function: Any = type(f"{name}_autograd", (torch.autograd.function._SingleLevelFunction,), methods)

    def autograd(*args: Any) -> Any:
        if not (torch.is_grad_enabled() and torch._C._any_requires_grad(*args)):
            with torch._C._AutoDispatchBelowAutograd():
                return operator(*args)
        with enable_single_level_autograd_function():
            return function.apply(*args)

    torch.library.impl(f"pixelrnn::{name}", "Autograd", autograd)


_register_autograd("line_lstm", _line_lstm_context, _line_lstm_gradients)
_register_autograd("line_lstm_backward", _line_lstm_backward_context, _line_lstm_second)
_register_autograd("conv", _conv_context, _conv_gradients)
_register_autograd("conv_backward", _conv_backward_context, _conv_second)
