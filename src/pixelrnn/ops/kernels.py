"""The computations behind the two operators: they check the tensors, allocate the results and call a backend."""

from collections.abc import Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.ops import cpu, manual, reference
from pixelrnn.ops.lines import LAYERS, Layer, Lines
from pixelrnn.ops.threads import one_thread

Tensors = tuple[Tensor, ...]

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
    output, saved = line_lstm_shapes(*given[:9], keep or backend != "cpu")
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
    gradients = line_lstm_backward_shapes(*operands)
    if not d_output.numel():
        return tuple(map(torch.zeros_like, gradients))
    if not saved.numel():  # the forward pass ran with keep=False
        saved = line_lstm(*operands, *given[7:], True)[1]
    room = line_lstm_shapes(*operands, *given[7:], True)[1]
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
    y = conv_shapes(*tensors)
    if y.numel():
        cpu.call("conv", factors, torch.get_num_threads(), *image, *_window(tensors[1]), relu, *tensors, y)
    return y


def conv_backward(*given: Any) -> Tensors:
    """Returns the gradients of x (empty unless ``wants_dx``), of the weight and of the bias."""
    x, weight, dy, height, relu, factors, wants_dx = given
    image = check("conv", [x, weight, None, None, dy], height, "cpu", factors)
    dx, *others = conv_backward_shapes(*given)
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


def line_lstm_shapes(*given: Any) -> Tensors:
    x, _, _, _, initial, _, _, backend, factors, keep = given
    (positions, batch, _), (directions, _, hidden) = x.shape, initial.shape
    # The gates, cells and states of all positions; then a grain where the C++ notes its division of the batch.
    padded, more = (-(-hidden // cpu.GRAIN) * cpu.GRAIN, cpu.GRAIN) if backend == "cpu" else (hidden, 0)
    saved = directions * positions * batch * 6 * padded + more if keep else 0
    return x.new_empty(positions, batch, hidden), x.new_empty(saved, dtype=factors if backend == "cpu" else x.dtype)


def line_lstm_backward_shapes(*given: Any) -> Tensors:
    return tuple(operand.new_empty(operand.shape) for operand in given[:5])


def conv_shapes(x: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], weight.shape[0])


def conv_backward_shapes(x: Tensor, weight: Tensor, *others: Any) -> Tensors:
    return x.new_empty(x.shape if others[-1] else 0), weight.new_empty(weight.shape), x.new_empty(weight.shape[0])
