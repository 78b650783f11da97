import pytest
import torch

from pixelrnn import InputError
from pixelrnn.data import requantise, to_levels


@pytest.mark.parametrize("levels", [2, 8, 17, 256])
def test_every_level_of_a_file_is_found_again(levels: int) -> None:
    file = torch.arange(256, dtype=torch.uint8)
    floats = file.to(torch.float32).div(255)  # as ToTensor does
    for x in (floats, floats.double(), floats.half()):
        assert torch.equal(to_levels(x, levels), requantise(file, 256, levels))


def test_the_shape_stays() -> None:
    assert to_levels(torch.rand(2, 3, 4, 5), 8).shape == (2, 3, 4, 5)
    assert to_levels(torch.rand(0, 3, 4, 5), 8).shape == (0, 3, 4, 5)


@pytest.mark.parametrize(
    ("values", "found"), [([-0.5, 0.5], "-0.5 to 0.5"), ([0.0, 255.0], "0 to 255"), ([0.0, torch.nan], "nan to nan")]
)
def test_normalised_images_are_refused(values: list[float], found: str) -> None:
    with pytest.raises(InputError, match=f"intensities are from {found}, expected 0 to 1: omit transforms like"):
        to_levels(torch.tensor(values), 8)
