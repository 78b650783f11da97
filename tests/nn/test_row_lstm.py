import pytest
import torch

from pixelrnn.nn import RowLSTM
from tests import oracle
from tests.checks import equals_oracle, reach


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1), (3, 4), (4, 3)])
@pytest.mark.parametrize(("channels", "features", "hidden"), [(1, 1, 2), (3, 4, 5)])
def test_equals_the_oracle(size: tuple[int, int], channels: int, features: int, hidden: int) -> None:
    equals_oracle(
        RowLSTM(features, hidden, channels=channels),
        lambda x, p: oracle.row_lstm(x, p, channels),
        torch.randn(2, features, *size),
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 4)])
@pytest.mark.parametrize(("channels", "condition"), [(1, 1), (3, 4)])
def test_conditioned_on_a_map_it_equals_the_oracle(size: tuple[int, int], channels: int, condition: int) -> None:
    equals_oracle(
        RowLSTM(3, 4, channels=channels, condition=condition),
        lambda x, p, given: oracle.row_lstm(x, p, channels, given),
        torch.randn(2, 3, *size),
        torch.randn(2, condition, *size),
    )


@pytest.mark.parametrize("size", [(4, 7), (5, 3)])
def test_sees_exactly_its_triangle(size: tuple[int, int]) -> None:
    height, width = size
    layer = RowLSTM(1, 3).double()
    reached = reach(layer, torch.randn(1, 1, height, width, dtype=torch.double)).any(dim=0)[:, :, 0]
    for i in range(height):
        for j in range(width):
            wanted = torch.zeros(height, width, dtype=torch.bool)
            for d in range(i + 1):
                wanted[i - d, max(0, j - d - 1) : j + d + 1] = True
            assert torch.equal(reached[i, j], wanted), (i, j)
