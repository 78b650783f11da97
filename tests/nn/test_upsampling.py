import pytest
import torch

from pixelrnn.nn import UpsamplingNetwork


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (4, 9), (7, 5), (12, 12)])
def test_a_small_image_becomes_a_map_of_the_large_size(factor: int, size: tuple[int, int]) -> None:
    height, width = size
    small = torch.randn(2, 3, *size)[:, :, ::factor, ::factor]
    assert UpsamplingNetwork(3, 5, factor)(small, height, width).shape == (2, 5, height, width)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_every_position_sees_the_pixels_around_it(factor: int) -> None:
    network = UpsamplingNetwork(1, 2, factor).double()
    for parameter in network.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 1)
    small = torch.rand(1, 1, 4, 4, dtype=torch.double, requires_grad=True)
    large = network(small, 4 * factor, 4 * factor)
    for i, j in ((0, 0), (2 * factor, factor), (4 * factor - 1, 4 * factor - 1)):
        (gradient,) = torch.autograd.grad(large[0, :, i, j].sum(), small, retain_graph=True)
        seen = gradient[0, 0] != 0
        rows, columns = (slice(max(0, n // factor - 1), n // factor + 2) for n in (i, j))
        assert seen[rows, columns].all()
