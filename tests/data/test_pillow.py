from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelrnn.data import pillow
from pixelrnn.errors import InputError


def write(path: Path, mode: str = "RGB", size: tuple[int, int] = (4, 3)) -> Path:
    Image.new(mode, size, 200 if mode in ("L", "I;16") else None).save(path)
    return path


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "gif", "webp", "tiff", "ppm"])
def test_any_format(tmp_path: Path, ending: str) -> None:
    array = pillow.read(write(tmp_path / f"a.{ending}", "L"), mode="grey")
    assert array.shape == (3, 4, 1)
    assert abs(int(array[0, 0, 0]) - 200) < 3


def test_modes_are_converted_only_when_asked_to(tmp_path: Path) -> None:
    rgb = write(tmp_path / "rgb.png")
    assert pillow.read(rgb).shape == (3, 4, 3)
    assert pillow.read(rgb, mode="grey").shape == (3, 4, 1)
    assert pillow.read(write(tmp_path / "one.png", "1")).shape == (3, 4, 1)
    for mode in ("RGBA", "P", "LA"):
        path = write(tmp_path / f"{mode}.png", mode)
        with pytest.raises(InputError, match=rf"{mode}\.png has mode {mode}, expected grey \(L\) or RGB: give mode"):
            pillow.read(path)
        assert pillow.read(path, mode="rgb").shape == (3, 4, 3)
    for mode in ("I;16", "F"):
        path = write(tmp_path / f"{mode[0]}.tiff", mode)
        with pytest.raises(InputError, match=f"has mode {mode}, more than 8 bits per channel: expected 8"):
            pillow.read(path, mode="grey")


def test_a_given_size_is_cropped_and_scaled_to(tmp_path: Path) -> None:
    left_to_right = Image.fromarray(np.tile(np.repeat(np.array([0, 255, 0], np.uint8), 6), (6, 1)))
    left_to_right.save(tmp_path / "a.png")
    array = pillow.read(tmp_path / "a.png", size=(3, 3))
    assert array.shape == (3, 3, 1)
    assert array.min() > 230  # the middle third, white


def test_images_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("L", (4, 3)).save(tmp_path / "a.jpg", exif=exif)
    assert pillow.read(tmp_path / "a.jpg").shape == (4, 3, 1)


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InputError, match=r"text\.png is no image that Pillow can read"):
        pillow.read(tmp_path / "text.png")
    for ending in ("png", "jpg", "webp", "gif"):
        path = tmp_path / f"cut.{ending}"
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(InputError, match=rf"cut\.{ending} (cannot be read|is no image)"):
            pillow.read(path, mode="rgb")


def test_stacked_images_must_agree() -> None:
    small, large = np.zeros((2, 3, 1), np.uint8), np.zeros((2, 3, 3), np.uint8)
    images = pillow.stack([("a", small), ("b", small)])
    assert images.pixels.shape == (2, 1, 2, 3)
    red = np.zeros((2, 3, 3), np.uint8)
    red[..., 0] = 9
    assert pillow.stack([("r", red)]).pixels[0, :, 0, 0].tolist() == [9, 0, 0]
    assert images.names == ["a", "b"]
    with pytest.raises(InputError, match="b is 2×3 RGB, expected 2×3 grey as a is: give size and mode"):
        pillow.stack([("a", small), ("b", large)])
