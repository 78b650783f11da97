from typing import Any

import pytest
import torch

from pixelrnn.errors import InputError
from pixelrnn.nn import MaskType, feature_channels, mask
from tests import oracle


@pytest.mark.parametrize("mask_type", ["A", "B"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kernel", [(1, 1), (1, 3), (3, 3), (7, 7), (5, 1)])
@pytest.mark.parametrize("maps", [1, 4])
def test_equals_the_rule_weight_by_weight(
    mask_type: MaskType, channels: int, kernel: tuple[int, int], maps: int
) -> None:
    in_features, out_features = channels + 1, (channels + 2) * maps  # not multiples of C
    got = mask(mask_type, in_features, out_features, kernel, channels=channels, maps=maps)
    assert got.shape == (out_features, in_features, *kernel)
    for o in range(out_features):
        for f in range(in_features):
            for u in range(kernel[0]):
                for v in range(kernel[1]):
                    di, dj = u - kernel[0] // 2, v - kernel[1] // 2
                    seen = oracle.may_see(mask_type, f, o % (channels + 2), di, dj, channels)
                    assert got[o, f, u, v] == float(seen)


def test_gates_are_each_counted_from_zero() -> None:
    assert feature_channels(8, 3, maps=2).tolist() == [0, 1, 2, 0, 0, 1, 2, 0]


def test_mask_a_lets_earlier_channels_through() -> None:
    centre = mask("A", 3, 3, (1, 1), channels=3)[:, :, 0, 0]
    assert torch.equal(centre, torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0]]))


@pytest.mark.usefixtures("as_a_user")
def test_bad_arguments_are_named() -> None:
    unknown: Any = "C"
    with pytest.raises(InputError, match="mask type 'C'"):
        mask(unknown, 1, 1, (1, 1))
    with pytest.raises(InputError, match="kernel_size is 2×3, expected odd numbers"):
        mask("A", 1, 1, (2, 3))
    with pytest.raises(InputError, match="kernel_size is -1×1, expected odd numbers of at least 1"):
        mask("A", 1, 1, (-1, 1))
    with pytest.raises(InputError, match="channels is 0 and maps is 1, expected at least 1"):
        mask("A", 1, 1, (1, 1), channels=0)
    with pytest.raises(InputError, match="2 features cannot hold 3 channels"):
        mask("A", 2, 3, (1, 1), channels=3)
    with pytest.raises(InputError, match="7 features cannot be divided into 4"):
        mask("A", 3, 7, (1, 1), maps=4)
