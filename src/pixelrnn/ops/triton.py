"""The scan as Triton kernels, for CUDA. `pixelrnn.ops.manual` does the products that need no order.

Up to `WALKED` features, one launch does the whole scan: each program owns some images of one direction and walks all
lines. With more features the weights are too large for this, so each line is one launch over positions, images and
features. Both ways use the same kernel; only the grid and the loop bounds differ.
"""

import logging
from functools import cache, lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.ops import manual
from pixelrnn.ops.lines import LAYERS, Layer, Lines

WALKED = 64
"""One launch walks all lines up to this many features of a state."""

PROGRAMS = 128
"""Programs per launch to aim for: about the number of multiprocessors of a large GPU."""

TILES = {"bf16": (64, 64, 64, 8), "tf32": (64, 32, 32, 8), "ieee": (64, 32, 32, 8), "double": (16, 16, 16, 4)}
"""The tile of a product by its precision: rows (positions and images), columns (features of the result), depth
(features that are summed at a time), and warps.
"""

SIZES = ["begin", "end", "L", "N", "B", "images", "width"]
"""Arguments for whose values Triton should compile no special kernel."""

TOLERANCE = {"bf16": 5e-2, "tf32": 1e-2, "ieee": 1e-5}
"""The kernels count as working up to this relative norm of the difference from float64."""


@triton.jit
def _dot(a, b, c, PRECISION: tl.constexpr):
    """a · b + c. Bfloat16 products round the factor a here; the caller has rounded b."""
    if PRECISION == "bf16":
        c = tl.dot(a.to(tl.bfloat16), b, c)
    else:
        c = tl.dot(a, b, c, input_precision=PRECISION, out_dtype=c.dtype)
    return c


@triton.jit
def _sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def _tanh(x):
    return 2 * _sigmoid(2 * x) - 1


@triton.jit
def _line(geometry, d, t, L):
    """Start and step of line t, the place of its first position, and its length; all 0 outside the image."""
    at, exists = geometry + (d * L + t) * 4, (t >= 0) & (t < L)
    start, step = tl.load(at, mask=exists, other=0), tl.load(at + 1, mask=exists, other=0)
    return start, step, tl.load(at + 2, mask=exists, other=0), tl.load(at + 3, mask=exists, other=0)


@triton.jit(do_not_specialize=SIZES)
def _scan(
    term, weight, initial, geometry, gates, cells, states, begin, end, L, N, B, images,
    D: tl.constexpr, T: tl.constexpr, CELL: tl.constexpr, h: tl.constexpr,
    PRECISION: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Scans the lines from begin to end, for one direction and ``images`` images."""
    d = tl.program_id(0) % D
    image = tl.program_id(0) // D * images
    for t in tl.range(begin, end, num_stages=1):
        start, step, first, length = _line(geometry, d, t, L)
        start_before, _, first_before, length_before = _line(geometry, d, t - 1, L)
        for m in tl.range(tl.program_id(1) * ROWS, length * images, tl.num_programs(1) * ROWS, num_stages=1):
            r = m + tl.arange(0, ROWS)
            n, b = r // images, image + r % images  # the position on its line, the image
            live = (n < length) & (b < B)
            at = (d * N + start + n * step).to(tl.int64) * B + b
            term_at = ((start + n * step).to(tl.int64) * B + b) * D + d
            for column in tl.range(tl.program_id(2) * COLUMNS, h, tl.num_programs(2) * COLUMNS, num_stages=1):
                j = column + tl.arange(0, COLUMNS)
                here = live[:, None] & (j < h)[None, :]
                o = tl.zeros((ROWS, COLUMNS), gates.dtype.element_ty)
                f, i, g = o, o, o
                c_before = o
                #   Kss ⊛ h₋: the shift of a tap is −1, 0 or 1 places on the line before
                for k in tl.static_range(T):
                    n_before = first + n + k - 1 - first_before
                    inside = live & (n_before >= 0) & (n_before < length_before)
                    before = (d * N + start_before + n_before * step).to(tl.int64) * B + b
                    for depth in range(0, h, DEPTH):
                        a = depth + tl.arange(0, DEPTH)
                        read = inside[:, None] & (a < h)[None, :]
                        h_before = tl.load(states + before[:, None] * h + a[None, :], mask=read, other=0)
                        h_0 = tl.load(initial + 2 * d * h + a, mask=a < h, other=0)
                        h_before = tl.where(inside[:, None], h_before, h_0[None, :])
                        w = weight + ((d * T + k) * h + a[:, None]) * 4 * h + j[None, :]
                        known = (a < h)[:, None] & (j < h)[None, :]
                        o = _dot(h_before, tl.load(w, mask=known, other=0), o, PRECISION)
                        f = _dot(h_before, tl.load(w + h, mask=known, other=0), f, PRECISION)
                        i = _dot(h_before, tl.load(w + 2 * h, mask=known, other=0), i, PRECISION)
                        g = _dot(h_before, tl.load(w + 3 * h, mask=known, other=0), g, PRECISION)
                    if k == CELL:
                        found = inside[:, None] & (j < h)[None, :]
                        c_before = tl.load(cells + before[:, None] * h + j[None, :], mask=found, other=0)
                        c_0 = tl.load(initial + (2 * d + 1) * h + j, mask=j < h, other=0)
                        c_before = tl.where(inside[:, None], c_before, c_0[None, :])

                #   o, f, i = σ(Kss ⊛ h₋ + Kis ⊛ x)      g = tanh(Kss ⊛ h₋ + Kis ⊛ x)
                x = term + term_at[:, None] * 4 * h + j[None, :]
                o = _sigmoid(o + tl.load(x, mask=here, other=0))
                f = _sigmoid(f + tl.load(x + h, mask=here, other=0))
                i = _sigmoid(i + tl.load(x + 2 * h, mask=here, other=0))
                g = _tanh(g + tl.load(x + 3 * h, mask=here, other=0))
                #   c = f ⊙ c₋ + i ⊙ g                   h = o ⊙ tanh(c)
                c = f * c_before + i * g
                saved = gates + at[:, None] * 4 * h + j[None, :]
                tl.store(saved, o, mask=here)
                tl.store(saved + h, f, mask=here)
                tl.store(saved + 2 * h, i, mask=here)
                tl.store(saved + 3 * h, g, mask=here)
                tl.store(cells + at[:, None] * h + j[None, :], c, mask=here)
                tl.store(states + at[:, None] * h + j[None, :], o * _tanh(c), mask=here)
        tl.debug_barrier()  # the next line reads states that other threads stored


@triton.jit(do_not_specialize=SIZES)
def _scan_backward(
    d_output, weight, initial, geometry, gates, cells, d_gates, d_before, begin, end, L, N, B, images, width,
    D: tl.constexpr, T: tl.constexpr, CELL: tl.constexpr, h: tl.constexpr,
    PRECISION: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Scans the lines from begin to end, counted from the last one, for one direction and ``images`` images."""
    d = tl.program_id(0) % D
    image = tl.program_id(0) // D * images
    for back in tl.range(begin, end, num_stages=1):
        t = L - 1 - back
        start, step, first, length = _line(geometry, d, t, L)
        start_before, _, first_before, length_before = _line(geometry, d, t - 1, L)
        start_after, _, first_after, length_after = _line(geometry, d, t + 1, L)
        for m in tl.range(tl.program_id(1) * ROWS, length * images, tl.num_programs(1) * ROWS, num_stages=1):
            r = m + tl.arange(0, ROWS)
            n, b = r // images, image + r % images
            live = (n < length) & (b < B)
            position = start + n * step
            at = (d * N + position).to(tl.int64) * B + b
            for column in tl.range(tl.program_id(2) * COLUMNS, h, tl.num_programs(2) * COLUMNS, num_stages=1):
                j = column + tl.arange(0, COLUMNS)
                here = live[:, None] & (j < h)[None, :]
                dh = tl.zeros((ROWS, COLUMNS), gates.dtype.element_ty)
                dc = dh
                #   dh₋ = Kssᵀ da, from the positions on the next line that have read this one
                for k in tl.static_range(T):
                    n_after = first + n - (k - 1) - first_after
                    reads = live & (n_after >= 0) & (n_after < length_after)
                    p_after = start_after + n_after * step
                    after = (p_after.to(tl.int64) * B + b) * D + d
                    for depth in range(0, 4 * h, DEPTH):
                        a = depth + tl.arange(0, DEPTH)
                        read = reads[:, None] & (a < 4 * h)[None, :]
                        da = tl.load(d_gates + after[:, None] * 4 * h + a[None, :], mask=read, other=0)
                        w = weight + ((d * T + k) * 4 * h + a[:, None]) * h + j[None, :]
                        w = tl.load(w, mask=(a < 4 * h)[:, None] & (j < h)[None, :], other=0)
                        dh = _dot(da, w, dh, PRECISION)
                    if k == CELL:
                        after = (d * N + p_after).to(tl.int64) * B + b
                        found = reads[:, None] & (j < h)[None, :]
                        dc = tl.load(d_before + after[:, None] * h + j[None, :], mask=found, other=0)

                # The forward pass moved the mirror's states down one row.
                out = position + d * width
                given = here & (out < N)[:, None]
                out = out.to(tl.int64) * B + b
                dh += tl.load(d_output + out[:, None] * h + j[None, :], mask=given, other=0)
                saved = gates + at[:, None] * 4 * h + j[None, :]
                o = tl.load(saved, mask=here, other=0)
                f = tl.load(saved + h, mask=here, other=0)
                i = tl.load(saved + 2 * h, mask=here, other=0)
                g = tl.load(saved + 3 * h, mask=here, other=0)
                tanh_c = _tanh(tl.load(cells + at[:, None] * h + j[None, :], mask=here, other=0))
                n_before = first + n + CELL - 1 - first_before
                inside = (n_before >= 0) & (n_before < length_before)
                before = (d * N + start_before + n_before * step).to(tl.int64) * B + b
                found = here & inside[:, None]
                c_before = tl.load(cells + before[:, None] * h + j[None, :], mask=found, other=0)
                c_0 = tl.load(initial + (2 * d + 1) * h + j, mask=j < h, other=0)
                c_before = tl.where(inside[:, None], c_before, c_0[None, :])

                #   h = o ⊙ tanh(c):       dc = dc + dh ⊙ o ⊙ (1 − tanh²(c))
                dc += dh * o * (1 - tanh_c * tanh_c)
                #   c = f ⊙ c₋ + i ⊙ g:    σ' = σ(1 − σ), tanh' = 1 − tanh²
                here_at = d_gates + ((position.to(tl.int64) * B + b) * D + d)[:, None] * 4 * h + j[None, :]
                tl.store(here_at, dh * tanh_c * o * (1 - o), mask=here)
                tl.store(here_at + h, dc * c_before * f * (1 - f), mask=here)
                tl.store(here_at + 2 * h, dc * g * i * (1 - i), mask=here)
                tl.store(here_at + 3 * h, dc * i * (1 - g * g), mask=here)
                tl.store(d_before + at[:, None] * h + j[None, :], dc * f, mask=here)
        tl.debug_barrier()


INTERPRETED = not isinstance(_scan, triton.JITFunction)
"""True if Triton's interpreter runs the kernels (TRITON_INTERPRET=1), on any device."""


def scan(
    term: Float[Tensor, "N B D four_h"],
    state_to_state: Float[Tensor, "D T h four_h"],
    initial: Float[Tensor, "D 2 h"],
    lines: Lines,
    gates: Float[Tensor, "D N B four_h"],
    cells: Float[Tensor, "D N B h"],
    states: Float[Tensor, "D N B h"],
) -> None:
    """See `pixelrnn.ops.manual.scan`."""
    _launch(_scan, (term, state_to_state, initial), lines, (gates, cells, states))


def scan_backward(
    d_output: Float[Tensor, "N B h"],
    state_to_state: Float[Tensor, "D T h four_h"],
    initial: Float[Tensor, "D 2 h"],
    lines: Lines,
    gates: Float[Tensor, "D N B four_h"],
    cells: Float[Tensor, "D N B h"],
) -> tuple[Float[Tensor, "N B D four_h"], Float[Tensor, "D N B h"]]:
    """See `pixelrnn.ops.manual.scan_backward`. Only products read da, so da has the type of their factors."""
    shape, dtype = (*d_output.shape[:2], *gates.shape[::3]), torch.bfloat16 if _precision(cells) == "bf16" else None
    d_gates, d_before = torch.empty(shape, dtype=dtype or cells.dtype, device=cells.device), torch.empty_like(cells)
    operands = d_output, state_to_state.mT, initial
    _launch(_scan_backward, operands, lines, (gates, cells, d_gates, d_before), lines.width)
    return d_gates, d_before


def _launch(kernel: Any, operands: tuple[Tensor, ...], lines: Lines, maps: tuple[Tensor, ...], *numbers: int) -> None:
    """Runs a kernel over all lines, in one launch or in one launch per line."""
    x, weight, initial = operands
    gates = maps[0]
    directions, positions, batch, hidden = *gates.shape[:3], initial.shape[2]
    precision, length, count = _precision(gates), lines.extent, len(lines.first)
    weight = weight.to(torch.bfloat16 if precision == "bf16" else weight.dtype).contiguous()
    rows, *tile, warps = TILES["double" if gates.dtype == torch.float64 else precision]
    columns, depth = (min(size, max(16, triton.next_power_of_2(hidden))) for size in tile)
    walks = hidden <= WALKED
    # Images per program, so that about PROGRAMS programs walk. A launch per line has enough programs with 16.
    images = triton.next_power_of_2(triton.cdiv(directions * batch, PROGRAMS)) if walks else 16
    owners = directions * triton.cdiv(batch, images)
    tiles = (1, 1) if walks else (triton.cdiv(length * images, rows), triton.cdiv(hidden, columns))
    pieces = [(0, count)] if walks else [(t, t + 1) for t in range(count)]
    fixed = {
        "D": directions, "T": len(lines.shifts), "CELL": lines.cell, "h": hidden, "PRECISION": precision,
        "ROWS": rows, "COLUMNS": columns, "DEPTH": depth, "num_warps": warps,
    }  # fmt: skip
    given = x.contiguous(), weight, initial.contiguous(), _geometry(lines, x.device), *maps
    with torch.cuda.device_of(x):
        for begin, end in pieces:
            kernel[(owners, *tiles)](*given, begin, end, count, positions, batch, images, *numbers, **fixed)


@lru_cache(maxsize=64)
def _geometry(lines: Lines, device: torch.device) -> Int[Tensor, "D L 4"]:
    """The start, step, place of the first position and length of every line."""
    of_lines = list(zip(lines.first, lines.lengths, strict=True))
    rows = [
        [(r.start, r.step, first, n) for r, (first, n) in zip(scan, of_lines, strict=True)] for scan in lines.positions
    ]
    return torch.tensor(rows, dtype=torch.int32, device=device)


def _precision(x: Tensor) -> str:
    """The precision of products, from autocast or from PyTorch's settings for matrix products.

    `pixelrnn.ops.kernels` turns autocast to other types than bfloat16 off before it calls the kernels.
    """
    if x.dtype == torch.float64:
        return "ieee"
    if torch.is_autocast_enabled(x.device.type):
        return "bf16"
    products = torch.backends.cuda.matmul
    is_new = hasattr(products, "fp32_precision")  # PyTorch raises an error if both settings are mixed
    return "tf32" if (products.fp32_precision == "tf32" if is_new else products.allow_tf32) else "ieee"


def works(x: Tensor, hidden: int, layer: Layer, *, named: bool = False) -> bool:
    """True if the kernels can compute with maps like x. Unless ``named``, a small case tests them once.

    Raises:
        InputError: the backend triton is selected, but x is not float32 or float64 on a GPU.
    """
    fits = (x.is_cuda or INTERPRETED) and x.dtype in (torch.float32, torch.float64)
    if named and not fits:
        raise InputError(f"x is {x.dtype} on {x.device}, expected float32 or float64 on CUDA for the backend triton")
    return named or (fits and agrees(x.device, x.dtype, hidden, layer, _precision(x)))


@cache
def agrees(device: torch.device, dtype: torch.dtype, hidden: int, layer: Layer, precision: str) -> bool:
    """Compares the kernels with `pixelrnn.ops.manual` in float64, forward and backward, and warns if they differ.

    Maps of every size run the kernels compiled here, so a small case is enough.
    """
    lines, random = LAYERS[layer](3, 4), torch.Generator().manual_seed(0)
    d, s, t = len(lines.taps), len(lines.inputs[0]), len(lines.shifts)
    shapes = (12, 3, 5), (d, s, 5, 4 * hidden), (d, 4 * hidden), (d, t, hidden, 4 * hidden), (d, 2, hidden)
    given = [0.2 * torch.randn(shape, generator=random, dtype=torch.float64) for shape in (*shapes, (12, 3, hidden))]
    allowed = 1e-10 if dtype == torch.float64 else TOLERANCE[precision]
    try:
        wanted = _both_passes(manual.scan, manual.scan_backward, [each.to(device) for each in given], lines)
        found = _both_passes(scan, scan_backward, [each.to(device, dtype) for each in given], lines)
        errors = [float((a.double() - b).norm() / b.norm()) for a, b in zip(found, wanted, strict=True)]
        wrong = [error for error in errors if not error <= allowed]
        why = f"they differ from PyTorch by {wrong[0]:.1e}, expected at most {allowed:.0e}" if wrong else ""
    except Exception as error:  # a compiler or a driver can raise anything
        why = f"{type(error).__name__}: {error}"
    if why:
        _warn(device, why)
    return not why


def _both_passes(forward: Any, backward: Any, tensors: list[Tensor], lines: Lines) -> list[Tensor]:
    """Returns the output and the gradients of all operands; the last tensor is the gradient of the output."""
    x, kis, bias, kss, initial, d_output = tensors
    saved = x.new_empty(6 * len(bias) * d_output.numel())
    output = manual.line_lstm(x, kis, bias, kss, initial, lines, saved, forward)
    return [output, *manual.line_lstm_backward(x, kis, kss, initial, saved, d_output, lines, backward)]


_warned: set[torch.device] = set()


def _warn(device: torch.device, why: str) -> None:
    """Warns once per device that PyTorch computes the recurrence, which is slower."""
    if device not in _warned:
        logging.getLogger("pixelrnn").warning(
            "the Triton kernels do not work on %s, so PyTorch computes the LSTM layers, which is slower: %s",
            device,
            why,
        )
        _warned.add(device)
