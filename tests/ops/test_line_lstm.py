"""Every backend equals the oracle, in output and in every gradient."""

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from pixelrnn import ops
from pixelrnn.errors import InputError
from pixelrnn.ops import Backend, backend
from pixelrnn.ops.lines import Lines, diagonal_lines, row_lines
from tests import oracle

NAMES = ("x", "input_to_state", "bias", "state_to_state", "initial")

Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
Make = Callable[[int, int], Lines]

# Triton's kernels are tested in `tests.ops.triton_cases`.
every_backend = pytest.mark.parametrize("name", [name for name in get_args(Backend) if name not in ("auto", "triton")])
fast_backends = pytest.mark.parametrize("name", ["manual", "cpu"])
both_lines = pytest.mark.parametrize("make", [row_lines, diagonal_lines])


def arguments(lines: Lines, *, batch: int, features: int, hidden: int) -> Inputs:
    directions, gates = len(lines.taps), 4 * hidden
    shapes = (
        (lines.height * lines.width, batch, features),
        (directions, len(lines.inputs[0]), features, gates),
        (directions, gates),
        (directions, len(lines.shifts), hidden, gates),
        (directions, 2, hidden),
    )
    x, kernel, bias, weight, initial = (torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in shapes)
    return x, kernel, bias, weight, initial


def changed(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    x, kernel, bias, weight, initial = (change(t.detach()).requires_grad_() for t in inputs)
    return x, kernel, bias, weight, initial


def by_the_oracle(
    x: Tensor, input_to_state: Tensor, bias: Tensor, state_to_state: Tensor, initial: Tensor, lines: Lines
) -> Tensor:
    n, batch, features = x.shape
    gates = bias.shape[1]
    maps = x.permute(1, 2, 0).reshape(batch, features, lines.height, lines.width)
    passes = []
    for d, taps in enumerate(lines.taps):
        kernel = torch.zeros(gates, features, 1, 3, dtype=x.dtype)
        for k, (_, dj) in enumerate(lines.inputs[d]):
            kernel[:, :, 0, 1 + dj] = input_to_state[d, k].T
        term = oracle.masked_conv(maps, kernel, bias[d], "B", channels=1)
        mirrored = bool(d)
        seen, offsets = (term.flip(-1), [(i, -j) for i, j in taps]) if mirrored else (term, list(taps))
        scanned = oracle.scan(seen, state_to_state[d], initial[d], offsets, lines.cell)
        passes.append(scanned.flip(-1) if mirrored else scanned)
    if len(passes) == 2:  # the mirror moves down one row
        passes[1] = torch.cat([torch.zeros_like(passes[1][:, :, :1]), passes[1][:, :, :-1]], dim=2)
    return torch.stack(passes).sum(dim=0).flatten(2).permute(2, 0, 1)


def line_lstm(
    x: Tensor, input_to_state: Tensor, bias: Tensor, state_to_state: Tensor, initial: Tensor, lines: Lines
) -> Tensor:
    layer: ops.Layer = "row" if len(lines.taps) == 1 else "diagonal"
    return ops.line_lstm(x, input_to_state, bias, state_to_state, initial, layer, lines.height)


def run(name: Backend, inputs: Inputs, lines: Lines, weights: Tensor) -> list[Tensor]:
    """Returns the output of a backend and the gradients of its weighted sum."""
    with backend(name):
        hidden = line_lstm(*inputs, lines)
    return [hidden.detach(), *torch.autograd.grad((hidden * weights).sum(), inputs)]


@every_backend
@both_lines
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (4, 1), (3, 4), (4, 3)])
@pytest.mark.parametrize("batch", [1, 2])
def test_equals_the_oracle(name: Backend, make: Make, size: tuple[int, int], batch: int) -> None:
    lines = make(*size)
    inputs = arguments(lines, batch=batch, features=2, hidden=3)
    expected = by_the_oracle(*inputs, lines)
    weights = torch.randn_like(expected)
    wanted = [expected, *torch.autograd.grad((expected * weights).sum(), inputs)]
    for what, a, b in zip(("output", *NAMES), run(name, inputs, lines, weights), wanted, strict=True):
        assert (a - b).abs().max() <= 1e-10, what


@fast_backends
@both_lines
@pytest.mark.parametrize(("batch", "features", "hidden"), [(13, 17, 5), (30, 8, 16), (3, 33, 18)])
def test_equals_the_reference_at_awkward_sizes(
    name: Backend, make: Make, batch: int, features: int, hidden: int
) -> None:
    lines = make(5, 7)
    inputs = arguments(lines, batch=batch, features=features, hidden=hidden)
    weights = torch.randn(35, batch, hidden, dtype=torch.double)
    for what, a, b in zip(
        ("output", *NAMES), run(name, inputs, lines, weights), run("reference", inputs, lines, weights), strict=True
    ):
        assert (a - b).abs().max() <= 1e-10, what


@every_backend
@both_lines
def test_the_gradient_of_every_gate(name: Backend, make: Make) -> None:
    """With the identity as Kis, x is the gates before activation."""
    lines = make(3, 4)
    inputs = arguments(lines, batch=2, features=len(lines.taps) * 12, hidden=3)
    with torch.no_grad():
        inputs[1].zero_()
        for d in range(len(lines.taps)):
            inputs[1][d, lines.inputs[d].index((0, 0)), 12 * d : 12 * d + 12] = torch.eye(12)
    weights = torch.randn(12, 2, 3, dtype=torch.double)
    expected = by_the_oracle(*inputs, lines)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), inputs[:1])
    assert (run(name, inputs, lines, weights)[1] - wanted).abs().max() <= 1e-10


@every_backend
@both_lines
def test_float32_errs_by_no_more_than_its_roundings(name: Backend, make: Make) -> None:
    """A path to a value has at most H + W positions. Each adds S·F + T·h + 1 products and some ten more operations. The
    gradient of a weight sums this over N·B. A rounding errs by at most 2⁻²⁴ of the largest term.
    """
    lines = make(6, 5)
    inputs = arguments(lines, batch=7, features=9, hidden=16)
    scaled = changed(inputs, lambda t: 0.2 * t)  # keeps the gates away from saturation, which would hide errors
    weights = torch.randn(30, 7, 16, dtype=torch.double)
    wanted = run("reference", scaled, lines, weights)
    single = changed(scaled, Tensor.float)
    got = run(name, single, lines, weights.float())
    sums = len(lines.inputs[0]) * 9 + len(lines.shifts) * 16 + 1
    for what, a, b in zip(("output", *NAMES), got, wanted, strict=True):
        roundings = (6 + 5) * (sums + 10) + (0 if what in ("output", "x") else 30 * 7)
        assert a.dtype == torch.float32
        assert (a - b).abs().max() <= roundings * 2**-24 * b.abs().max(), what


@fast_backends
@both_lines
@pytest.mark.parametrize(("size", "batch", "features", "hidden"), [((6, 5), 7, 9, 16), ((5, 4), 13, 6, 5)])
def test_products_of_bfloat16_numbers_err_by_no_more_than_their_roundings(
    name: Backend, make: Make, size: tuple[int, int], batch: int, features: int, hidden: int
) -> None:
    """A path to a value has at most H + W positions. Each makes three roundings: two factors, and their product or a
    saved value. A rounding errs by at most 2⁻⁸, up or down; its root mean square is 2⁻⁸/√3. For three roundings at each
    position this makes √(H + W) times 2⁻⁸.
    """
    lines = make(*size)
    inputs = arguments(lines, batch=batch, features=features, hidden=hidden)
    scaled = changed(inputs, lambda t: 0.2 * t)
    weights = torch.randn(lines.height * lines.width, batch, hidden, dtype=torch.double)
    wanted = run("reference", scaled, lines, weights)
    single = changed(scaled, Tensor.float)
    with torch.autocast("cpu", torch.bfloat16):
        got = run(name, single, lines, weights.float())
    exact = run(name, single, lines, weights.float())
    bound = 2**-8 * sum(size) ** 0.5
    for what, a, b, c in zip(("output", *NAMES), got, wanted, exact, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() <= bound * b.norm(), what
        assert (a - b).norm() > 10 * (c - b).norm(), f"{what} is as exact as in float32"


@both_lines
@pytest.mark.parametrize(("gate", "bias"), [(k, bias) for k in range(3) for bias in (-8, 8)] + [(3, -4), (3, 4)])
def test_gates_that_are_all_but_closed_or_open_learn_from_bfloat16_too(make: Make, gate: int, bias: float) -> None:
    """The bound above holds for the gradient of the gate's bias, which depends on the distance from 0 or ±1."""
    got, wanted = bias_gradients(make(4, 4), gate, bias)
    of_gate = slice(16 * gate, 16 * gate + 16)
    assert (got - wanted)[:, of_gate].norm() <= 2**-8 * 8**0.5 * wanted[:, of_gate].norm()


@both_lines
@pytest.mark.parametrize("bias", [-12, 12])
def test_the_sign_of_g_is_kept_where_it_is_one_to_rounding(make: Make, bias: float) -> None:
    """The gradient of the input gate contains g as a factor."""
    got, wanted = bias_gradients(make(4, 4), 3, bias)
    assert (got - wanted)[:, 32:48].norm() <= 2**-8 * 8**0.5 * wanted[:, 32:48].norm()


def bias_gradients(lines: Lines, gate: int, bias: float) -> tuple[Tensor, Tensor]:
    """The bias gradients of bfloat16 and of the reference, with ``bias`` added to one gate of 16 features."""
    inputs = changed(arguments(lines, batch=8, features=4, hidden=16), lambda t: 0.2 * t)
    inputs[2].data[:, 16 * gate : 16 * gate + 16] += bias
    weights = torch.randn(16, 8, 16, dtype=torch.double)
    with torch.autocast("cpu", torch.bfloat16):
        got = run("cpu", changed(inputs, Tensor.float), lines, weights.float())[3]
    return got, run("reference", inputs, lines, weights)[3]


@fast_backends
@both_lines
def test_double_precision_is_not_rounded_to_bfloat16(name: Backend, make: Make) -> None:
    inputs = arguments(make(3, 4), batch=2, features=2, hidden=3)
    weights = torch.randn(12, 2, 3, dtype=torch.double)
    expected = run(name, inputs, make(3, 4), weights)
    with torch.autocast("cpu", torch.bfloat16):
        got = run(name, inputs, make(3, 4), weights)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize(("name", "bfloat16"), [("manual", False), ("manual", True), ("cpu", False), ("cpu", True)])
@both_lines
def test_nothing_uninitialised_is_read(name: Backend, make: Make, bfloat16: bool) -> None:
    lines = make(4, 3)
    inputs = arguments(lines, batch=3, features=5, hidden=3)
    weights = torch.randn(12, 3, 3, dtype=torch.double)
    if bfloat16:
        inputs, weights = changed(inputs, Tensor.float), weights.float()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        clean, poisoned = clean_and_poisoned(name, inputs, lines, weights)
    assert all(torch.equal(a, b) for a, b in zip(clean, poisoned, strict=True))


def clean_and_poisoned(
    name: Backend, inputs: Inputs, lines: Lines, weights: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Runs twice; in the second run PyTorch fills new tensors with NaN."""
    clean = run(name, inputs, lines, weights)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3).isnan().all()
        return clean, run(name, inputs, lines, weights)
    finally:
        torch.use_deterministic_algorithms(False)


@fast_backends
@both_lines
def test_without_gradients_the_output_is_the_same(name: Backend, make: Make) -> None:
    inputs = arguments(make(3, 4), batch=3, features=2, hidden=3)
    with backend(name):
        expected = line_lstm(*inputs, make(3, 4))
        with torch.no_grad():
            assert torch.equal(line_lstm(*inputs, make(3, 4)), expected)


@both_lines
def test_without_gradients_nothing_is_kept_for_them(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, computed = [], ops.cpu.call

    def recording(*args: Any) -> bool:
        kept.append(args[-1] is not None)
        return computed(*args)

    monkeypatch.setattr(ops.cpu, "call", recording)
    inputs = arguments(make(2, 2), batch=1, features=1, hidden=1)
    line_lstm(*inputs, make(2, 2))
    with torch.no_grad():
        line_lstm(*inputs, make(2, 2))
    for tensor in inputs:
        tensor.requires_grad_(False)
    line_lstm(*inputs, make(2, 2))
    assert kept == [True, False, False]


@every_backend
@both_lines
def test_no_images(name: Backend, make: Make) -> None:
    inputs = arguments(make(2, 3), batch=0, features=2, hidden=3)
    hidden, *gradients = run(name, inputs, make(2, 3), torch.zeros(6, 0, 3, dtype=torch.double))
    assert hidden.shape == (6, 0, 3)
    assert not any(gradient.any() for gradient in gradients)


@fast_backends
def test_a_graph_that_is_kept_gives_the_same_gradients_again(name: Backend) -> None:
    inputs = arguments(diagonal_lines(3, 4), batch=2, features=2, hidden=3)
    with backend(name):
        total = line_lstm(*inputs, diagonal_lines(3, 4)).sum()
    first = torch.autograd.grad(total, inputs, retain_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(first, torch.autograd.grad(total, inputs), strict=True))


@every_backend
@both_lines
def test_gradcheck(name: Backend, make: Make) -> None:
    inputs = arguments(make(2, 3), batch=1, features=2, hidden=2)
    with backend(name):
        assert torch.autograd.gradcheck(lambda x, k, b, w, i: line_lstm(x, k, b, w, i, make(2, 3)), inputs)


def test_compiled_sums_do_not_depend_on_which_thread_is_first() -> None:
    lines = diagonal_lines(6, 6)
    inputs = arguments(lines, batch=40, features=4, hidden=4)
    weights = torch.randn(36, 40, 4, dtype=torch.double)
    torch.set_num_threads(2)
    try:
        runs = [run("cpu", inputs, lines, weights) for _ in range(5)]
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(a, b) for again in runs[1:] for a, b in zip(runs[0], again, strict=True))


@pytest.mark.parametrize("name", ["reference", "manual", "cpu"])
@pytest.mark.parametrize("bfloat16", [False, True])
@both_lines
@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FFFFFFF, 0x7FC00001, -1])
def test_what_is_no_number_stays_so(name: Backend, make: Make, bits: int, bfloat16: bool) -> None:
    x, *weights = (t.detach().float() for t in arguments(make(2, 3), batch=2, features=2, hidden=3))
    x.view(torch.int32)[0, 1, 0] = bits
    with backend(name), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        hidden = line_lstm(x, weights[0], weights[1], weights[2], weights[3], make(2, 3))
    assert hidden[0, 1].isnan().all()
    assert not hidden[0, 0].isnan().any()


@pytest.mark.parametrize(("name", "kind"), [("reference", torch.bfloat16), ("manual", torch.float16)])
def test_autocast_leaves_the_recurrence_in_the_precision_of_its_weights(name: Backend, kind: torch.dtype) -> None:
    lines = diagonal_lines(3, 4)
    x, *weights = (t.detach().float() for t in arguments(lines, batch=2, features=2, hidden=3))
    rounded = x.to(kind)
    with backend(name):
        expected = line_lstm(rounded.float(), weights[0], weights[1], weights[2], weights[3], lines)
        with torch.autocast("cpu", kind):
            hidden = line_lstm(rounded, weights[0], weights[1], weights[2], weights[3], lines)
    assert torch.equal(hidden, expected)


def test_the_transforms_of_torch_func_work() -> None:
    lines = row_lines(2, 2)
    x, kernel, bias, weight, initial = arguments(lines, batch=1, features=2, hidden=2)

    def f(x: Tensor) -> Tensor:
        return line_lstm(x, kernel, bias, weight, initial, lines)

    jacobian = torch.func.jacrev(f)(x)
    (gradient,) = torch.autograd.grad(f(x).sum(), x)
    assert isinstance(jacobian, Tensor)
    torch.testing.assert_close(jacobian.sum(dim=(0, 1, 2)), gradient)


@pytest.mark.usefixtures("as_a_user")
def test_shapes_that_do_not_belong_together_are_named() -> None:
    x, kernel, bias, weight, initial = (t.detach() for t in arguments(row_lines(2, 3), batch=1, features=2, hidden=2))
    lines = row_lines(2, 3)
    with pytest.raises(InputError, match="line_lstm: height is 4, expected a positive divisor of x's 6 positions"):
        line_lstm(x, kernel, bias, weight, initial, row_lines(4, 2))
    with pytest.raises(InputError, match=r"input_to_state has shape \(1, 1, 2, 8\), expected \(1, 2, 2, 8\)"):
        line_lstm(x, kernel[:, :1], bias, weight, initial, lines)
    with pytest.raises(InputError, match=r"bias has shape \(1, 7\), expected \(1, 8\)"):
        line_lstm(x, kernel, bias[:, :7], weight, initial, lines)
    with pytest.raises(InputError, match=r"state_to_state has shape \(1, 2, 2, 8\), expected \(1, 3, 2, 8\)"):
        line_lstm(x, kernel, bias, weight[:, :2], initial, lines)
    with pytest.raises(InputError, match="F is 0, expected at least 1"):
        line_lstm(x[..., :0], kernel[:, :, :0], bias, weight, initial, lines)
    with pytest.raises(InputError, match="4h is 0, expected at least 1"):
        line_lstm(x, kernel[..., :0], bias[:, :0], weight[:, :, :0, :0], initial[..., :0], lines)
    with pytest.raises(InputError, match=r"initial has shape \(1, 1, 2\), expected \(1, 2, 2\)"):
        line_lstm(x, kernel, bias, weight, initial[:, :1], lines)
    unknown: Any = "column"
    with pytest.raises(InputError, match="unknown layer 'column'"):
        ops.line_lstm(x, kernel, bias, weight, initial, unknown, 2)
