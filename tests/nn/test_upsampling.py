import itertools

import pytest
import torch
import torch.nn.functional as F

from pixelrnn.nn import UpsamplingNetwork
from tests import oracle
from tests.checks import equals_oracle


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (4, 9), (7, 5), (12, 12)])
def test_a_small_image_becomes_a_map_of_the_large_size(factor: int, size: tuple[int, int]) -> None:
    height, width = size
    small = torch.randn(2, 3, *size)[:, :, ::factor, ::factor]
    assert UpsamplingNetwork(3, 5, factor)(small, height, width).shape == (2, 5, height, width)


def upsampled(x: torch.Tensor, p: dict[str, torch.Tensor], factor: int, height: int, width: int) -> torch.Tensor:
    """The network in plain loops. Position k of the small map is at f·k of the large map."""

    def convolution(x: torch.Tensor, name: str) -> torch.Tensor:
        _, _, height, width = x.shape
        weight, bias = p[f"{name}.weight"], p[f"{name}.bias"]
        y = bias[None, :, None, None].expand(len(x), -1, height, width).clone()
        for i, j, u, v in itertools.product(range(height), range(width), range(3), range(3)):
            if 0 <= i + u - 1 < height and 0 <= j + v - 1 < width:
                y[:, :, i, j] += x[:, :, i + u - 1, j + v - 1] @ weight[:, :, u, v].T
        return y

    for n in range(2):
        x = convolution(x, f"small.{n}").clamp(min=0)
    weight, bias = p["deconvolution.weight"], p["deconvolution.bias"]  # (in, out, 2f, 2f)
    y = bias[None, :, None, None].expand(len(x), -1, height, width).clone()
    for i, j, k, m in itertools.product(range(height), range(width), range(x.shape[2]), range(x.shape[3])):
        u, v = i - factor * k + factor - 1, j - factor * m + factor - 1
        if 0 <= u < 2 * factor and 0 <= v < 2 * factor:
            y[:, :, i, j] += x[:, :, k, m] @ weight[:, :, u, v]
    return convolution(y.clamp(min=0), "large")


class ToSize(torch.nn.Module):
    """The network for one size, as a module with one input."""

    def __init__(self, channels: int, features: int, factor: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.size = UpsamplingNetwork(channels, features, factor), size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.network(x, *self.size)
        return y


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (4, 7), (6, 5)])
def test_equals_the_plain_loops(factor: int, size: tuple[int, int]) -> None:
    equals_oracle(
        ToSize(3, 2, factor, size),
        lambda x, p: upsampled(x, oracle.part(p, "network"), factor, *size),
        torch.randn(2, 3, -(-size[0] // factor), -(-size[1] // factor)),
    )


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (4, 7), (6, 5)])
def test_without_gradients_it_computes_the_same(factor: int, size: tuple[int, int]) -> None:
    network = UpsamplingNetwork(3, 2, factor).double()
    x = torch.randn(2, 3, -(-size[0] // factor), -(-size[1] // factor), dtype=torch.double)
    expected = network(x, *size)
    with torch.no_grad():
        torch.testing.assert_close(network(x, *size), expected, rtol=0, atol=1e-12)


def test_without_gradients_it_gives_the_same_bits_for_any_batch_and_threads() -> None:
    network, x, threads = UpsamplingNetwork(1, 19, 2), torch.randn(33, 1, 9, 8), torch.get_num_threads()
    with torch.no_grad():
        whole = network(x, 17, 16)
        try:
            for n in (1, 2, 3):
                torch.set_num_threads(n)
                for batch in (1, 5, 33):
                    assert torch.equal(torch.cat([network(part, 17, 16) for part in x.split(batch)]), whole)
        finally:
            torch.set_num_threads(threads)


@pytest.mark.parametrize("factor", [2, 3, 4, 5])
def test_what_lies_between_two_pixels_sees_both(factor: int) -> None:
    network = UpsamplingNetwork(1, 1, factor).double()
    torch.nn.init.constant_(network.deconvolution.weight, 1.0)
    small = torch.eye(3, dtype=torch.double)[:, None, :, None].expand(3, 1, 3, 3)  # only row k
    begin = factor - 1
    large = F.conv_transpose2d(small, network.deconvolution.weight, stride=factor)[:, 0, begin : begin + 3 * factor, 0]
    for i in range(3 * factor):
        seen = large[:, i].nonzero()[:, 0].tolist()
        k, between = divmod(i, factor)
        assert k in seen
        if between and k < 2:
            assert k + 1 in seen
