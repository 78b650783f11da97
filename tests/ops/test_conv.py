import pytest
import torch
from torch import Tensor

from pixelrnn import InputError
from pixelrnn.ops import Backend, backend, conv
from tests import oracle


def linear(x: Tensor, weight: Tensor, bias: Tensor, *, relu: bool, plus: Tensor | None) -> Tensor:
    """The 1×1 convolution of a map with one row."""
    return conv(x, weight[:, :, None, None], bias, 1, relu=relu, plus=plus)


@pytest.mark.parametrize("name", ["cpu", "manual"])
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


@pytest.mark.parametrize("name", ["cpu", "manual"])
def test_autocast_has_its_way(name: Backend) -> None:
    x, weight, bias = torch.randn(2, 3, 4), torch.randn(5, 4), torch.randn(5)
    with backend(name), torch.autocast("cpu", torch.bfloat16):
        y = linear(x, weight, bias, relu=False, plus=None)
    rounded = torch.nn.functional.linear(x.bfloat16().float(), weight.bfloat16().float(), bias)
    # PyTorch rounds the result too.
    torch.testing.assert_close(y.float(), rounded, rtol=0, atol=1e-6 if name == "cpu" else 0.05)
    assert not torch.equal(y.float(), linear(x, weight, bias, relu=False, plus=None))


@pytest.mark.parametrize("bfloat16", [True, False])
def test_nothing_uninitialised_is_read(bfloat16: bool) -> None:
    x, weight, bias = torch.randn(7, 3, 5), torch.randn(9, 5, requires_grad=True), torch.randn(9)
    x.requires_grad_()
    torch.use_deterministic_algorithms(True)  # fills new tensors with NaN
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            y = linear(x, weight, bias, relu=True, plus=None)
        gradients = torch.autograd.grad(y.sum(), (x, weight))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(t.isfinite().all() for t in (y, *gradients))


@pytest.mark.parametrize(("features", "out"), [(1, 1), (3, 64), (64, 3), (33, 17), (64, 64)])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("plus", [True, False])
def test_products_of_numbers_that_bfloat16_holds_are_exact(features: int, out: int, relu: bool, plus: bool) -> None:
    shapes = ((50, 5, features), (out, features), (out,), (50, 5, out), (50, 5, out))
    x, weight, bias, added, weights = (torch.randint(-8, 9, shape).float() for shape in shapes)
    inputs = [t.requires_grad_() for t in (x, weight, bias, *([added] if plus else []))]
    results = []
    for bfloat16 in (True, False):
        with backend("cpu"), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            y = linear(x, weight, bias, relu=relu, plus=added if plus else None)
        results.append([y.detach(), *torch.autograd.grad((y * weights).sum(), inputs)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_an_infinite_bias_stays_so() -> None:
    bias = torch.tensor([float("inf"), -float("inf"), 3.4e38, 1.0])
    with backend("cpu"), torch.autocast("cpu", torch.bfloat16):
        y = linear(torch.zeros(1, 1, 3), torch.zeros(4, 3), bias, relu=False, plus=None)
    assert y.tolist() == [[[float("inf"), -float("inf"), float("inf"), 1.0]]]


def test_maps_that_autocast_has_rounded_are_taken() -> None:
    x, weight, bias = torch.randn(2, 3, 4).bfloat16(), torch.randn(5, 4), torch.randn(5)
    with backend("cpu"), torch.autocast("cpu", torch.bfloat16):
        y = linear(x, weight, bias, relu=False, plus=torch.ones(2, 3, 5).bfloat16())
    torch.testing.assert_close(y, x.float() @ weight.bfloat16().float().T + bias + 1)


def test_a_bias_has_twice_the_digits_of_bfloat16() -> None:
    bias = torch.randn(100)
    with backend("cpu"), torch.autocast("cpu", torch.bfloat16):
        y = linear(torch.zeros(1, 1, 3), torch.zeros(100, 3), bias, relu=False, plus=None)[0, 0]
    assert ((y - bias).abs() <= 2**-16 * bias.abs()).all()


@pytest.mark.parametrize("name", ["cpu", "manual"])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 5), (7, 1), (19, 3)])
@pytest.mark.parametrize(
    ("size", "batch", "features", "out"), [((1, 1), 1, 1, 1), ((4, 3), 2, 3, 17), ((3, 5), 18, 2, 16)]
)
def test_kernels_of_several_taps_equal_the_oracle(
    name: Backend, relu: bool, kernel: tuple[int, int], size: tuple[int, int], batch: int, features: int, out: int
) -> None:
    x, weight, bias, plus = (
        torch.randn(shape, dtype=torch.double)
        for shape in ((batch, features, *size), (out, features, *kernel), (out,), (batch, out, *size))
    )
    weight[:, :, kernel[0] // 2 + 1 :] = 0
    weight[:, :, kernel[0] // 2, kernel[1] // 2 + 1 :] = 0
    for tensor in (x, weight, bias, plus):
        tensor.requires_grad_()
    seen = x.clamp(min=0) if relu else x
    padding = (kernel[0] // 2, kernel[1] // 2)
    wanted = torch.nn.functional.conv2d(seen, weight, bias, padding=padding) + plus
    if out < 16:  # the oracle is slow
        torch.testing.assert_close(wanted - plus, oracle.masked_conv(seen, weight, bias, "B", channels=1))
    with backend(name):
        positions = [t.permute(2, 3, 0, 1).flatten(0, 1) for t in (x, plus)]
        y = conv(positions[0], weight, bias, size[0], relu=relu, plus=positions[1])
    y = y.unflatten(0, size).permute(2, 3, 0, 1)
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-10)
    weights = torch.randn_like(y)
    got = torch.autograd.grad((y * weights).sum(), (x, weight, bias, plus))
    expected = torch.autograd.grad((wanted * weights).sum(), (x, weight, bias, plus))
    closed = torch.ones_like(weight)
    closed[:, :, : kernel[0] // 2] = 0
    closed[:, :, kernel[0] // 2, : kernel[1] // 2 + 1] = 0
    for k, (a, b) in enumerate(zip(got, expected, strict=True)):
        kept = (1 - closed) if k == 1 else 1  # taps after the centre are masked and get no gradient
        torch.testing.assert_close(a * kept, b * kept, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kernel", [(3, 3), (7, 7)])
@pytest.mark.parametrize("features", [1, 3, 16])
def test_kernels_of_several_taps_multiply_bfloat16_numbers_exactly(kernel: tuple[int, int], features: int) -> None:
    shapes = ((30, 4, features), (5, features, *kernel), (5,), (30, 4, 5))
    x, weight, bias, weights = (torch.randint(-8, 9, shape).float() for shape in shapes)
    weight[:, :, kernel[0] // 2 + 1 :] = 0
    weight[:, :, kernel[0] // 2, kernel[1] // 2 + 1 :] = 0
    inputs = [t.requires_grad_() for t in (x, weight, bias)]
    results = []
    for bfloat16 in (True, False):
        with backend("cpu"), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            y = conv(x, weight, bias, 5, relu=True)
        results.append([y.detach(), *torch.autograd.grad((y * weights).sum(), inputs)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("bfloat16", [True, False])
def test_a_number_that_is_none_is_not_seen_before_its_time(bfloat16: bool) -> None:
    x = torch.randn(12, 1, 3)
    x[6, 0, 0] = torch.nan  # at (2, 0) of 4×3
    weight = torch.randn(2, 3, 3, 3)
    weight[:, :, 2], weight[:, :, 1, 2] = 0, 0
    with backend("cpu"), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        y = conv(x, weight, torch.zeros(2), 4)
    assert y.isnan().all(dim=2)[:, 0].tolist() == [*[False] * 6, True, True, False, True, True, False]


@pytest.mark.parametrize("name", ["cpu", "reference"])
@pytest.mark.parametrize(("positions", "batch", "height"), [(0, 2, 0), (0, 2, 3), (6, 0, 3)])
def test_no_positions_or_no_images(name: Backend, positions: int, batch: int, height: int) -> None:
    inputs = [torch.randn(shape, requires_grad=True) for shape in ((positions, batch, 2), (4, 2, 3, 3), (4,))]
    with backend(name):
        y = conv(inputs[0], inputs[1], inputs[2], height)
    assert y.shape == (positions, batch, 4)
    assert not any(gradient.any() for gradient in torch.autograd.grad(y.sum(), inputs))


def test_float16_autocast_is_not_followed() -> None:
    x, weight, bias, plus = torch.randn(2, 3, 4), torch.randn(5, 4, 1, 1), torch.randn(5), torch.randn(2, 3, 5)
    with torch.autocast("cpu", torch.float16):
        y = conv(x.half(), weight, bias, 1, plus=plus.half())
    assert torch.equal(y, conv(x.half().float(), weight, bias, 1, plus=plus.half().float()))


@pytest.mark.parametrize("name", ["cpu", "manual", "reference"])
def test_what_makes_no_convolution_is_refused_by_every_backend(name: Backend) -> None:
    x, weight, bias = torch.zeros(6, 2, 3), torch.zeros(4, 3, 1, 3), torch.zeros(4)
    with backend(name):
        for kernel, height in ((weight.double(), 2), (weight[..., :2], 2), (weight, 4), (weight, 0), (weight, 2**40)):
            with pytest.raises(InputError, match="conv: "):
                conv(x, kernel, bias, height)
