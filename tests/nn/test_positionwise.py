import pytest
import torch

from pixelrnn.backend import Backend, backend
from pixelrnn.nn.positionwise import linear


@pytest.mark.parametrize("name", ["compiled", "manual"])
@pytest.mark.parametrize(("features", "out"), [(1, 1), (3, 64), (64, 3), (33, 17), (64, 64)])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("plus", [True, False])
def test_equals_the_product_in_output_and_gradients(
    name: Backend, features: int, out: int, relu: bool, plus: bool
) -> None:
    shapes = ((50, 5, features), (out, features), (out,), (50, 5, out))
    x, weight, bias, added = (torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in shapes)
    inputs = [x, weight, bias, *([added] if plus else [])]
    expected = torch.einsum("nbf,gf->nbg", x.clamp(min=0) if relu else x, weight) + bias + (added if plus else 0)
    with backend(name):
        y = linear(x, weight, bias, relu=relu, plus=added if plus else None)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
    weights = torch.randn_like(y)
    got = torch.autograd.grad((y * weights).sum(), inputs)
    wanted = torch.autograd.grad((expected * weights).sum(), inputs)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_weights_learn_from_an_input_that_needs_no_gradient() -> None:
    x, weight = torch.randn(4, 2, 3), torch.randn(5, 3, requires_grad=True)
    bias = torch.zeros(5, requires_grad=True)
    linear(x, weight, bias, relu=False, plus=None).sum().backward()
    torch.testing.assert_close(weight.grad, x.sum(dim=(0, 1)).expand(5, 3))
    assert bias.grad is not None
    assert bias.grad.tolist() == [8] * 5


def test_what_is_no_number_stays_so() -> None:
    x = torch.tensor([[[float("nan"), 1.0]]])
    assert linear(x, torch.ones(1, 2), torch.zeros(1), relu=True, plus=None).isnan().all()


def test_autocast_has_its_way() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        y = linear(torch.randn(2, 3, 4), torch.randn(5, 4), torch.randn(5), relu=False, plus=None)
    assert y.dtype == torch.bfloat16


def test_nothing_uninitialised_is_read() -> None:
    x, weight, bias = torch.randn(7, 3, 5), torch.randn(9, 5, requires_grad=True), torch.randn(9)
    x.requires_grad_()
    torch.use_deterministic_algorithms(True)  # fills what is allocated with numbers that are none
    try:
        y = linear(x, weight, bias, relu=True, plus=None)
        gradients = torch.autograd.grad(y.sum(), (x, weight))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(t.isfinite().all() for t in (y, *gradients))
