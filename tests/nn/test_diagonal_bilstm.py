import pytest
import torch

from pixelrnn.nn import DiagonalBiLSTM
from tests import oracle
from tests.checks import equals_oracle, reach


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1), (3, 4), (4, 3)])
@pytest.mark.parametrize(("channels", "features", "hidden"), [(1, 1, 2), (3, 4, 5)])
def test_equals_the_oracle(size: tuple[int, int], channels: int, features: int, hidden: int) -> None:
    equals_oracle(
        DiagonalBiLSTM(features, hidden, channels=channels),
        lambda x, p: oracle.diagonal_bilstm(x, p, channels),
        torch.randn(2, features, *size),
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 4)])
@pytest.mark.parametrize(("channels", "condition"), [(1, 1), (3, 4)])
def test_conditioned_on_a_map_it_equals_the_oracle(size: tuple[int, int], channels: int, condition: int) -> None:
    equals_oracle(
        DiagonalBiLSTM(3, 4, channels=channels, condition=condition),
        lambda x, p, given: oracle.diagonal_bilstm(x, p, channels, given),
        torch.randn(2, 3, *size),
        torch.randn(2, condition, *size),
    )


@pytest.mark.parametrize("size", [(3, 5), (5, 3), (1, 4), (4, 1)])
def test_one_layer_sees_every_earlier_pixel_and_no_later_one(size: tuple[int, int]) -> None:
    n = size[0] * size[1]
    layer = DiagonalBiLSTM(1, 3).double()
    reached = reach(layer, torch.randn(1, 1, *size, dtype=torch.double)).any(dim=0)
    assert torch.equal(reached.reshape(n, n), torch.ones(n, n).tril().bool())
