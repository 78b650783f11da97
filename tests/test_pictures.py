from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pixelrnn.errors import InputError
from pixelrnn.pictures import Section, grid, save_grid, save_sheet, to_8_bit


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


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 40, 20), (1, 300, 400), (3, 1, 1000)])
def test_a_sheet_shows_every_image_above_its_label(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    dark = torch.full((9, *shape), 1, dtype=torch.uint8)
    bright = torch.full((2, *shape), 254, dtype=torch.uint8)
    names = ["a.png", "b" * 300, "\udcff\n北京.png"]
    labels = [[names[n % 3], f"{n} nats"] for n in range(9)]
    save_sheet(tmp_path / "a.png", [Section("dark", dark, labels), Section("bright", bright, labels[:2])])
    with Image.open(tmp_path / "a.png") as sheet:
        grey = torch.from_numpy(np.asarray(sheet.convert("L")).copy()).long()
    # Each image covers an area of its own: 9 dark and 2 bright ones.
    zoom = 112 // max(shape) if max(shape) <= 112 else min(1, 256 / max(shape))
    area = max(1, round(shape[1] * zoom)) * max(1, round(shape[2] * zoom))
    assert (grey == 1).sum() >= 9 * area
    assert (grey == 254).sum() >= 2 * area
    assert (grey == 255).sum() > area  # the background
    assert grey[:26].min() < 100  # the first title


def test_a_text_that_is_too_wide_loses_its_beginning(tmp_path: Path) -> None:
    def sheet(name: str) -> bytes:
        save_sheet(tmp_path / "a.png", [Section("", torch.zeros(1, 1, 8, 8, dtype=torch.uint8), [[name]])])
        return (tmp_path / "a.png").read_bytes()

    assert sheet("x" * 99 + "1.png") == sheet("y" * 99 + "x" * 50 + "1.png") != sheet("x" * 99 + "2.png")
