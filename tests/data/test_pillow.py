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
        with pytest.raises(InputError, match=rf"{mode}\.png has mode {mode}, expected grey \(L\) or RGB: pass mode"):
            pillow.read(path)
        assert pillow.read(path, mode="rgb").shape == (3, 4, 3)
    for mode in ("I;16", "F"):
        path = write(tmp_path / f"{mode[0]}.tiff", mode)
        with pytest.raises(InputError, match=f"has mode {mode}, expected 8 bits per channel: convert"):
            pillow.read(path, mode="grey")


def test_a_given_size_is_cropped_and_scaled_to(tmp_path: Path) -> None:
    left_to_right = Image.fromarray(np.tile(np.repeat(np.array([0, 255, 0], np.uint8), 6), (6, 1)))
    left_to_right.save(tmp_path / "a.png")
    array = pillow.read(tmp_path / "a.png", size=(3, 3))
    assert array.shape == (3, 3, 1)
    assert array.min() > 230  # the middle third, white


def test_images_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90°
    Image.new("L", (4, 3)).save(tmp_path / "a.jpg", exif=exif)
    assert pillow.read(tmp_path / "a.jpg").shape == (4, 3, 1)


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InputError, match=r"text\.png is not an image file, expected BMP, GIF, JPEG, PNG"):
        pillow.read(tmp_path / "text.png")
    for ending in ("png", "jpg", "webp", "gif"):
        path = tmp_path / f"cut.{ending}"
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(InputError, match=rf"cut\.{ending} (cannot be read|is not an image file)"):
            pillow.read(path, mode="rgb")


def test_only_formats_of_pixels_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.init()
    for form, (_, accept) in list(Image.OPEN.items()):

        def opening(*_: object, form: str = form) -> None:
            raise AssertionError(f"{form} was opened")

        if form not in pillow.FORMATS:
            monkeypatch.setitem(Image.OPEN, form, (opening, accept))
    for form, start in (("EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), ("PDF", b"%PDF-1.4\n")):
        for ending in ("png", form.lower()):
            path = tmp_path / f"holiday.{ending}"
            path.write_bytes(start + b"(x) print\n" * 99)
            with pytest.raises(InputError, match=rf"holiday\.{ending} is not an image file, expected BMP"):
                pillow.read(path)
    for form in ("ICO", "TGA", "PCX", "IM"):  # harmless formats, but nobody needs them
        Image.new("RGB", (16, 16)).save(tmp_path / "a.png", form)
        with pytest.raises(InputError, match=r"a\.png is not an image file"):
            pillow.read(tmp_path / "a.png")


def test_an_ending_may_be_that_of_another_of_these_formats(tmp_path: Path) -> None:
    Image.new("L", (4, 3), 7).save(tmp_path / "a.jpg", "PNG")
    assert pillow.read(tmp_path / "a.jpg").tolist() == np.full((3, 4, 1), 7).tolist()


def test_a_few_bytes_that_claim_many_pixels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ppm"
    path.write_bytes(b"P5 8192 8193 255\n")
    with pytest.raises(InputError, match=r"a\.ppm has 8193×8192 pixels, expected at most 67,108,864"):
        pillow.read(path)
    path.write_bytes(b"P5 99999 99999 255\n")  # Pillow refuses this image earlier
    with pytest.raises(InputError, match=r"a\.ppm cannot be read: Image size"):
        pillow.read(path)


def test_files_larger_than_any_image_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.jpg").open("wb") as file:
        file.write(b"\xff\xd8\xff")
        file.truncate(2**34)
    with pytest.raises(InputError, match=r"a\.jpg has 17,179,869,184 bytes, expected at most 268,435,456"):
        pillow.read(tmp_path / "a.jpg")


def test_stacked_images_must_agree() -> None:
    small, large = np.zeros((2, 3, 1), np.uint8), np.zeros((2, 3, 3), np.uint8)
    images = pillow.stack([("a", small), ("b", small)])
    assert images.pixels.shape == (2, 1, 2, 3)
    red = np.zeros((2, 3, 3), np.uint8)
    red[..., 0] = 9
    assert pillow.stack([("r", red)]).pixels[0, :, 0, 0].tolist() == [9, 0, 0]
    assert images.names == ["a", "b"]
    with pytest.raises(InputError, match="b is 2×3 RGB, expected 2×3 grey like a: pass size and mode"):
        pillow.stack([("a", small), ("b", large)])
