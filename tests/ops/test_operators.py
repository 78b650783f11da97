"""PyTorch knows the operators: it checks, differentiates and transforms them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pixelrnn import ops
from pixelrnn.errors import InputError
from pixelrnn.nn import DiagonalBiLSTM, MaskedConv2d, RowLSTM
from pixelrnn.ops import backend

Layer = type[RowLSTM] | type[DiagonalBiLSTM]

both_layers = pytest.mark.parametrize("layer", [RowLSTM, DiagonalBiLSTM])
both_kernels = pytest.mark.parametrize("name", ["manual", "cpu"])


def operands(layer: Layer) -> list[Tensor]:
    lstm = layer(2, 3).double()
    torch.nn.init.normal_(lstm.state_to_state.initial)
    return [t.detach().clone().requires_grad_() for t in (torch.randn(6, 2, 2).double(), *lstm.operands())]


def of_conv(kernel: int) -> list[Tensor]:
    conv = MaskedConv2d("B", 2, 3, kernel).double()
    x, plus = torch.randn(6, 2, 2).double(), torch.randn(6, 2, 3).double()
    return [t.detach().clone().requires_grad_() for t in (x, conv.masked_weight, conv.bias, plus)]


@pytest.mark.usefixtures("as_a_user")
@both_layers
@both_kernels
def test_opcheck_of_the_recurrence(layer: Layer, name: ops.Backend) -> None:
    inputs, how = operands(layer), (2, layer.layer, name, torch.double)
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if (layer is RowLSTM) == (name == "manual"):  # it takes seconds, and `tests.ops.test_backend` compiles both layers
        checks.append("test_aot_dispatch_dynamic")
    torch.library.opcheck(torch.ops.pixelrnn.line_lstm.default, (*inputs, *how, True), test_utils=checks)
    output, saved = torch.ops.pixelrnn.line_lstm(*inputs, *how, True)
    backward = (*inputs, saved.detach(), torch.randn_like(output), *how)
    torch.library.opcheck(torch.ops.pixelrnn.line_lstm_backward.default, backward, test_utils=checks)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("relu", [True, False])
def test_opcheck_of_the_convolution(kernel: int, relu: bool) -> None:
    x, weight, bias, plus = of_conv(kernel)
    torch.library.opcheck(torch.ops.pixelrnn.conv.default, (x, weight, bias, plus, 2, relu, torch.double))
    torch.library.opcheck(torch.ops.pixelrnn.conv.default, (x, weight, bias, None, 2, relu, torch.double))
    # PyTorch cannot trace the second derivative of its own conv2d for unknown shapes.
    unknown = ["test_aot_dispatch_dynamic"] if kernel == 1 else []
    checks = ["test_schema", "test_autograd_registration", "test_faketensor", *unknown]
    backward = (x, weight, torch.randn_like(plus), 2, relu, torch.double, True)
    torch.library.opcheck(torch.ops.pixelrnn.conv_backward.default, backward, test_utils=checks)


def penalised(f: Callable[..., Tensor], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """Returns the gradients of the output plus a penalty: the squared gradient of the first input."""
    y = f(*inputs)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    (g,) = torch.autograd.grad((y * weights).sum(), inputs[:1], create_graph=True)
    return torch.autograd.grad(y.sum() + 10 * g.pow(2).sum(), inputs)


@both_layers
@pytest.mark.parametrize("name", ["manual", "cpu"])
def test_second_derivatives_are_those_of_the_reference(layer: Layer, name: ops.Backend) -> None:
    inputs = operands(layer)

    def f(x: Tensor, kernel: Tensor, bias: Tensor, weight: Tensor, initial: Tensor) -> Tensor:
        return ops.line_lstm(x, kernel, bias, weight, initial, layer.layer, 2)

    with backend("reference"):
        wanted = penalised(f, inputs)
    with backend(name):
        got = penalised(f, inputs)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kernel", [1, 3])
def test_second_derivatives_of_the_convolution(kernel: int) -> None:
    inputs = of_conv(kernel)

    def f(x: Tensor, weight: Tensor, bias: Tensor, plus: Tensor) -> Tensor:
        return ops.conv(x, weight, bias, 2, relu=True, plus=plus).sin()

    with backend("reference"):
        wanted = penalised(f, inputs)
    got = penalised(f, inputs)
    closed = torch.ones(kernel, kernel, dtype=torch.double)
    closed.view(-1)[kernel * kernel // 2 + 1 :] = 0
    for k, (a, b) in enumerate(zip(got, wanted, strict=True)):
        kept = closed if k == 1 else 1  # taps after the centre are masked
        torch.testing.assert_close(a * kept, b * kept, rtol=0, atol=1e-10)


@both_layers
def test_third_derivatives(layer: Layer) -> None:
    x, *weights = (t.detach().requires_grad_(k == 0) for k, t in enumerate(operands(layer)))
    results: list[Tensor] = []
    names: list[ops.Backend] = ["reference", "cpu"]
    for name in names:
        with backend(name):
            y = ops.line_lstm(x, weights[0], weights[1], weights[2], weights[3], layer.layer, 2).sum()
        for _ in range(2):
            (g,) = torch.autograd.grad(y, x, create_graph=True)
            y = g.pow(2).sum()
        results += torch.autograd.grad(y, x)
    torch.testing.assert_close(*results, rtol=0, atol=1e-10)


def modules() -> dict[str, torch.nn.Module]:
    return {
        "row": RowLSTM(2, 2).double(),
        "diagonal": DiagonalBiLSTM(2, 2).double(),
        "1x1": MaskedConv2d("B", 2, 3, 1).double(),
        "3x3": MaskedConv2d("B", 2, 3, 3).double(),
    }


def penalty(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.func.grad(f)(x).pow(2).sum()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # forward-mode derivatives by PyTorch itself
@pytest.mark.parametrize("name", ["row", "diagonal", "1x1", "3x3"])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_transforms_of_torch_func(name: str, frozen: bool) -> None:
    module, x, v = modules()[name].requires_grad_(not frozen), *torch.randn(2, 1, 2, 2, 2).double()

    def f(x: Tensor) -> Tensor:
        return module(x).sin().pow(2).sum()

    func = torch.func
    transforms: dict[str, Callable[[], Any]] = {
        "jacrev": lambda: func.jacrev(module)(x),
        "jvp": lambda: func.jvp(module, (x,), (v,))[1],
        "grad of grad": lambda: func.grad(penalty(f))(x),
        "vmap of grad of grad": lambda: func.vmap(func.grad(penalty(f)))(x[None].repeat(3, 1, 1, 1, 1)),
        "jacrev of jacrev": lambda: func.jacrev(func.jacrev(f))(x),
        "grad of grad of grad": lambda: func.grad(penalty(penalty(f)))(x),
    }
    for what, compute in transforms.items():
        got = compute()
        with backend("reference"):
            wanted = compute()
        assert wanted.abs().max() > 1e-6, what
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10, msg=f"{what} differs")
    for refused in (lambda: func.hessian(f)(x), lambda: func.jvp(func.grad(f), (x,), (v,))):
        with pytest.raises(InputError, match=r"use jacrev\(jacrev\(f\)\), or"):
            refused()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # PyTorch's own, in forward mode
@pytest.mark.parametrize("name", ["row", "diagonal", "1x1", "3x3"])
def test_autocast_leaves_the_type_of_forward_mode_derivatives(name: str) -> None:
    module, x, v = modules()[name].float(), *torch.randn(2, 1, 2, 2, 2)
    wanted = torch.func.jvp(module, (x,), (v,))
    with torch.autocast("cpu", torch.bfloat16):
        got = torch.func.jvp(module, (x,), (v,))
    torch.testing.assert_close(got, wanted, rtol=0.02, atol=0.02)


@both_layers
@pytest.mark.parametrize("precision", [torch.float64, torch.float32])
@pytest.mark.parametrize("batch", [1, 5, 29])
def test_the_number_of_threads_may_change_before_the_backward_pass(
    layer: Layer, precision: torch.dtype, batch: int
) -> None:
    lstm, x = layer(3, 5).to(precision), torch.randn(batch, 3, 4, 3, dtype=precision, requires_grad=True)
    results = []
    try:
        for before, after in ((1, 1), (2, 1), (1, 3), (3, 2)):
            for bfloat16 in (False, True) if precision == torch.float32 else (False,):
                torch.set_num_threads(before)
                with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                    y = lstm(x)
                torch.set_num_threads(after)
                results.append((bfloat16, torch.autograd.grad(y.pow(2).sum(), x)[0]))
    finally:
        torch.set_num_threads(1)
    first = dict(reversed(results))
    assert all(torch.equal(gradient, first[bfloat16]) for bfloat16, gradient in results)


def test_tensors_whose_values_are_not_in_their_memory() -> None:
    weight, bias = torch.randn(3, 2, 1, 1), torch.randn(3)
    x = torch._neg_view(torch.randn(4, 1, 2))
    assert torch.equal(ops.conv(x, weight, bias, 2), ops.conv(x.clone(), weight, bias, 2))
    nothing = torch._efficientzerotensor((4, 1, 2))
    assert torch.equal(torch.ops.pixelrnn.conv(nothing, weight, bias, None, 2, False, bias.dtype), bias.expand(4, 1, 3))


@both_layers
def test_vmap_over_maps_and_over_weights(layer: Layer) -> None:
    lstms, x = [layer(2, 3), layer(2, 3)], torch.randn(4, 1, 2, 3, 3)
    torch.testing.assert_close(torch.func.vmap(lstms[0])(x), torch.stack([lstms[0](each) for each in x]))
    weights, buffers = torch.func.stack_module_state(lstms)

    def f(weights: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(lstms[0], (weights, buffers), (x[0],))

    torch.testing.assert_close(torch.func.vmap(f)(weights, buffers), torch.stack([lstm(x[0]) for lstm in lstms]))


@both_layers
def test_a_backward_pass_that_the_forward_pass_did_not_expect(layer: Layer) -> None:
    inputs, how = operands(layer), (2, layer.layer, "cpu", torch.double)
    expected = torch.autograd.grad(torch.ops.pixelrnn.line_lstm(*inputs, *how, True)[0].sum(), inputs)
    got = torch.autograd.grad(torch.ops.pixelrnn.line_lstm(*inputs, *how, False)[0].sum(), inputs)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.usefixtures("as_a_user")
def test_no_shape_that_an_operator_is_given_ends_the_process() -> None:
    x, kernel, bias, weight, initial = (t.detach() for t in operands(RowLSTM))
    line_lstm, backward = torch.ops.pixelrnn.line_lstm, torch.ops.pixelrnn.line_lstm_backward
    good = (x, kernel, bias, weight, initial)
    saved, out = line_lstm(*good, 2, "row", "cpu", torch.double, True)[1], torch.zeros(6, 2, 3).double()
    wrong: list[tuple[Any, ...]] = [
        (*good, 0, "row"),
        (*good, 4, "row"),
        (*good, -2, "row"),
        (*good, 2, "diagonal"),
        (*good, 2, "neither"),
        (x[0], *good[1:], 2, "row"),
        (x.float(), *good[1:], 2, "row"),
        (x.long(), *good[1:], 2, "row"),
        (x, kernel[:, :1], *good[2:], 2, "row"),
        (*good[:4], initial[:, :1], 2, "row"),
        (*good[:4], initial[0], 2, "row"),
    ]
    for name in ("cpu", "manual"):
        for given in wrong:
            with pytest.raises(InputError):
                line_lstm(*given, name, torch.double, True)
            with pytest.raises(InputError):
                backward(*given[:5], saved, out, *given[5:], name, torch.double)
    for kept, d_output in ((saved[:-1], out), (saved.float(), out), (saved, out[:5]), (saved[::2], out)):
        with pytest.raises(InputError):
            backward(*good, kept, d_output, 2, "row", "cpu", torch.double)
    with pytest.raises(InputError, match=r"x is torch\.float16 on cpu, expected float32 or float64 on a CPU"):
        line_lstm(*(t.half() for t in good), 2, "row", "cpu", torch.half, True)
    conv, of = torch.ops.pixelrnn.conv, [t.detach() for t in of_conv(3)]
    for given in [
        (of[0], of[1][..., :2], of[2], None, 2),
        (of[0], of[1][:, :1], of[2], None, 2),
        (of[0], of[1], of[2][:2], None, 2),
        (of[0], of[1], of[2], of[3][:5], 2),
        (of[0], of[1], of[2], None, 5),
        (of[0], of[1][:, :, 0], of[2], None, 2),
        (of[0].float(), *of[1:], 2),
    ]:
        with pytest.raises(InputError):
            conv(*given, False, torch.double)
    with pytest.raises(InputError):
        torch.ops.pixelrnn.conv_backward(of[0], of[1], of[3][:5], 2, False, torch.double, True)
