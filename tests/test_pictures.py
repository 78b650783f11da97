from pathlib import Path

import pytest
import torch
from PIL import Image

from pixelrnn.errors import InputError
from pixelrnn.pictures import grid, save_grid, to_8_bit


def test_levels_span_the_intensities() -> None:
    assert to_8_bit(torch.tensor([0, 8, 16], dtype=torch.uint8), 17).tolist() == [0, 128, 255]
    assert to_8_bit(torch.tensor([0, 1], dtype=torch.uint8), 2).tolist() == [0, 255]
    x = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_8_bit(x, 256), x)


def test_a_grid_has_each_image_in_its_place() -> None:
    x = torch.arange(5, dtype=torch.uint8).reshape(5, 1, 1, 1).expand(5, 3, 2, 3)
    picture = grid(x, columns=3)
    assert picture.shape == (3, 1 + 2 * 3, 1 + 3 * 4)
    for k in range(5):
        top, left = 1 + k // 3 * 3, 1 + k % 3 * 4
        assert (picture[:, top : top + 2, left : left + 3] == k).all()
    assert (picture[:, 0] == 255).all()
    assert (picture[:, 4:, 9:] == 255).all()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_grid_becomes_a_png(tmp_path: Path, channels: int, mode: str) -> None:
    save_grid(tmp_path / "new" / "a.anything", torch.zeros(2, channels, 8, 8, dtype=torch.uint8), columns=2)
    with Image.open(tmp_path / "new" / "a.anything") as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", mode, (8 * 19, 8 * 10))


def test_other_channels_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"an image file cannot hold 2 channels, expected 1 .* or 3"):
        save_grid(tmp_path / "a.png", torch.zeros(2, 2, 8, 8, dtype=torch.uint8), columns=2)
