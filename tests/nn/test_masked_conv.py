import pytest
import torch
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.nn import MaskedConv2d, MaskType
from pixelrnn.nn.raster import by_position, is_by_position
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


@pytest.mark.parametrize("mask_type", ["A", "B"])
@pytest.mark.parametrize("kernel", [1, 3, (1, 3), 7])
@pytest.mark.parametrize("relu", [True, False])
def test_a_map_stored_by_position_gives_the_same_and_stays_so(
    mask_type: MaskType, kernel: int | tuple[int, int], relu: bool
) -> None:
    conv = MaskedConv2d(mask_type, 4, 6, kernel, channels=3).double()
    x, plus = torch.randn(2, 4, 3, 5, dtype=torch.double), torch.randn(2, 6, 3, 5, dtype=torch.double)
    stored = by_position(x)
    y = conv(stored, relu=relu, plus=by_position(plus))
    assert is_by_position(y)
    torch.testing.assert_close(y, conv(x, relu=relu, plus=plus), rtol=0, atol=1e-12)
    equals_oracle(
        conv, lambda x, p: oracle.masked_conv(x, p["weight"], p["bias"], mask_type, 3), stored.requires_grad_()
    )


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("stored", [True, False])
def test_a_map_of_other_features_is_refused(stored: bool) -> None:
    conv, x, plus = MaskedConv2d("B", 8, 8, 1), torch.randn(2, 4, 3, 3), torch.randn(2, 7, 3, 3)
    change = by_position if stored else Tensor.contiguous
    with pytest.raises(InputError, match=r"x has shape \(2, 4, 3, 3\), expected \(B, 8, H, W\)"):
        conv(change(x))
    with pytest.raises(InputError, match=r"plus has shape \(2, 7, 3, 3\), expected \(2, 8, 3, 3\)"):
        conv(change(torch.randn(2, 8, 3, 3)), plus=change(plus))


@pytest.mark.usefixtures("as_a_user")
def test_an_added_map_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"plus has shape \(2, 3, 6, 4\), expected \(2, 3, 4, 6\)"):
        MaskedConv2d("B", 2, 3, 1)(torch.randn(2, 2, 4, 6), plus=torch.randn(2, 3, 6, 4))


@pytest.mark.usefixtures("as_a_user")
def test_an_image_without_a_batch_is_refused() -> None:
    with pytest.raises(InputError, match=r"x has shape \(8, 3, 3\), expected \(B, 8, H, W\)"):
        MaskedConv2d("B", 8, 8, 3)(torch.randn(8, 3, 3))


def test_a_contiguous_map_gives_a_contiguous_one() -> None:
    assert MaskedConv2d("B", 2, 4, 3)(torch.randn(3, 2, 4, 5)).view(3, 80).shape == (3, 80)


def test_the_mask_is_not_saved() -> None:
    assert set(MaskedConv2d("A", 1, 2, 7).state_dict()) == {"weight", "bias"}
