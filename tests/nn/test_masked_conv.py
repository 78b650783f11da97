import pytest
import torch

from pixelrnn.nn import MaskedConv2d, MaskType
from tests import oracle
from tests.checks import equals_oracle


@pytest.mark.parametrize("mask_type", ["A", "B"])
@pytest.mark.parametrize(("channels", "maps"), [(1, 1), (3, 1), (3, 2)])
@pytest.mark.parametrize("kernel", [1, 3, (1, 3)])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 1), (3, 2)])
def test_equals_the_oracle(
    mask_type: MaskType, channels: int, maps: int, kernel: int | tuple[int, int], size: tuple[int, int]
) -> None:
    conv = MaskedConv2d(mask_type, channels, 4 * maps, kernel, channels=channels, maps=maps)
    equals_oracle(
        conv,
        lambda x, p: oracle.masked_conv(x, p["weight"], p["bias"], mask_type, channels, maps),
        torch.randn(2, channels, *size),
    )


def test_the_mask_is_not_saved() -> None:
    assert set(MaskedConv2d("A", 1, 2, 7).state_dict()) == {"weight", "bias"}
