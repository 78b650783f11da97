import pickle
import struct
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixelrnn.data import pillow
from pixelrnn.data.pillow import Decoding
from pixelrnn.errors import InputError


def write(path: Path, mode: str = "RGB", size: tuple[int, int] = (4, 3)) -> Path:
    Image.new(mode, size, 200 if mode in ("L", "I;16") else None).save(path)
    return path


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "gif", "webp", "tiff", "ppm"])
def test_any_format(tmp_path: Path, ending: str) -> None:
    array = pillow.read(write(tmp_path / f"a.{ending}", "L"), Decoding(mode="grey"))
    assert array.shape == (3, 4, 1)
    assert abs(int(array[0, 0, 0]) - 200) < 3


def test_modes_are_converted_only_when_asked_to(tmp_path: Path) -> None:
    rgb = write(tmp_path / "rgb.png")
    assert pillow.read(rgb).shape == (3, 4, 3)
    assert pillow.read(rgb, Decoding(mode="grey")).shape == (3, 4, 1)
    assert pillow.read(write(tmp_path / "one.png", "1")).shape == (3, 4, 1)
    for mode in ("RGBA", "P", "LA"):
        path = write(tmp_path / f"{mode}.png", mode)
        with pytest.raises(
            InputError, match=rf"{mode}\.png has mode {mode}, expected opaque grey \(L\) or RGB: pass mode"
        ):
            pillow.read(path)
        assert pillow.read(path, Decoding(mode="rgb")).shape == (3, 4, 3)
    for mode in ("I;16", "F"):
        path = write(tmp_path / f"{mode[0]}.tiff", mode)
        with pytest.raises(InputError, match=f"has mode {mode}, expected 8 bits per channel: convert"):
            pillow.read(path, Decoding(mode="grey"))


def test_a_given_size_is_cropped_and_scaled_to(tmp_path: Path) -> None:
    left_to_right = Image.fromarray(np.tile(np.repeat(np.array([0, 255, 0], np.uint8), 6), (6, 1)))
    left_to_right.save(tmp_path / "a.png")
    array = pillow.read(tmp_path / "a.png", Decoding(size=(3, 3)))
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
            pillow.read(path, Decoding(mode="rgb"))


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
    with pytest.raises(InputError, match=r"a\.ppm has more than 67,108,864 pixels"):
        pillow.read(path)


def test_files_larger_than_any_image_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.jpg").open("wb") as file:
        file.write(b"\xff\xd8\xff")
        file.truncate(2**34)
    with pytest.raises(InputError, match=r"a\.jpg has 17,179,869,184 bytes, expected at most 269,484,032"):
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


def test_all_images_of_another_size_or_mode_are_counted() -> None:
    small, wide, red = (np.zeros(shape, np.uint8) for shape in ((2, 3, 1), (2, 9, 1), (2, 3, 3)))
    odd = [(f"wide-{n}", wide) for n in range(50)]
    with pytest.raises(InputError) as caught:
        pillow.stack([("a", small), *odd, ("b", small), ("red", red), ("c", small)])
    others = ", ".join(f"wide-{n}" for n in range(1, 20))
    assert str(caught.value) == (
        f"wide-0 is 2×9 grey (also {others} and 30 more); red is 2×3 RGB, expected 2×3 grey like a and 2 more: "
        "pass size and mode to convert them"
    )


def test_a_message_names_few_of_many_sizes() -> None:
    odd = [(f"{n}", np.zeros((n, 1, 1), np.uint8)) for n in range(1, 10)]
    with pytest.raises(
        InputError, match=r"; 6 is 6×1 grey; 4 more images have 3 other kinds of size or mode, expected"
    ):
        pillow.stack([*odd, ("again", odd[8][1])])


def test_the_most_pixels_are_a_choice(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.png", "L", size=(30, 20))
    with pytest.raises(InputError, match=r"scan\.png has 20×30 pixels, expected at most 599 \(data\.max_pixels\)"):
        pillow.read(path, Decoding(max_pixels=599))
    with pytest.raises(InputError, match=r"scan\.png has more than 299 pixels \(data\.max_pixels\)"):
        pillow.read(path, Decoding(max_pixels=299))
    assert pillow.read(path, Decoding(max_pixels=600)).shape == (20, 30, 1)
    limit = Image.MAX_IMAGE_PIXELS
    assert limit
    huge = tmp_path / "huge.pbm"  # more pixels than Pillow allows, in 25 MB
    with huge.open("wb") as file:
        file.write(b"P4 14000 14000\n")
        file.truncate(file.tell() + 1750 * 14000)
    assert pillow.read(huge, Decoding(max_pixels=2**28, size=(14, 14), crop="centre")).max() == 255
    assert limit == Image.MAX_IMAGE_PIXELS


def jpeg_of(path: Path, array: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", exif: bytes) -> Path:
    Image.fromarray(array).save(path, quality=100, exif=exif)
    return path


def exif_of(entries: list[tuple[int, int, int, bytes]]) -> bytes:
    """EXIF data of entries (tag, type, count, four bytes)."""
    table = b"".join(struct.pack(">HHI4s", *entry) for entry in entries)
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", len(entries)) + table + bytes(4)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "other",
    [
        [],
        [(0x011A, 2, 4, b"72\0\0")],  # the resolution as text
        [(0x011A, 5, 1, b"\xff\xff\xff\xff")],  # or beyond the end of the file
        [(0x8769, 4, 1, b"\xff\xff\xff\xff")],  # so is the table of the camera's settings
    ],
)
def test_odd_exif_data_leave_an_image_upright(
    tmp_path: Path, orientation: int, other: list[tuple[int, int, int, bytes]]
) -> None:
    upright = np.zeros((24, 16), np.uint8)
    upright[:8, :8] = 255  # the upper left corner is white
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[::-1],
        7: upright.T[::-1, ::-1],
        8: upright.T[:, ::-1],
    }[orientation]
    exif = exif_of(sorted([(0x0112, 3, 1, struct.pack(">HH", orientation, 0)), *other]))
    read = pillow.read(jpeg_of(tmp_path / "a.jpg", np.ascontiguousarray(stored), exif))
    assert np.abs(read[..., 0].astype(int) - upright).max() < 9


@pytest.mark.parametrize("entry", [(0x0112, 3, 1, b"\0\x09\0\0"), (0x0112, 2, 2, b"6\0\0\0")])
def test_an_orientation_that_means_nothing_leaves_an_image_as_it_is_stored(
    tmp_path: Path, entry: tuple[int, int, int, bytes]
) -> None:
    stored = np.zeros((8, 16), np.uint8)
    assert pillow.read(jpeg_of(tmp_path / "a.jpg", stored, exif_of([entry]))).shape == (8, 16, 1)
    assert pillow.read(jpeg_of(tmp_path / "b.jpg", stored, b"Exif\0\0II*")).shape == (8, 16, 1)


def test_transparent_pixels_show_the_background(tmp_path: Path) -> None:
    red = Image.new("RGBA", (3, 1), (255, 0, 0, 255))
    red.putpixel((1, 0), (255, 0, 0, 0))
    red.putpixel((2, 0), (255, 0, 0, 51))
    red.save(tmp_path / "red.png")
    for background, shown in (("white", 255), ("#808080", 128), ("black", 0)):
        array = pillow.read(tmp_path / "red.png", Decoding(mode="rgb", background=background))
        mixed = round(0.8 * shown)
        assert array[0, 0].tolist() == [255, 0, 0]
        assert array[0, 1].tolist() == [shown] * 3
        assert np.abs(array[0, 2].astype(int) - [mixed + 51, mixed, mixed]).max() <= 1
    with pytest.raises(InputError, match=r"data\.background must be a colour .* got 'transparent'"):
        Decoding(background="transparent")


@pytest.mark.parametrize("mode", ["P", "RGB", "L", "LA", "1"])
def test_every_kind_of_transparency_is_seen(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (2, 1), 0 if mode in ("P", "L", "1") else None)
    white: Any = {"P": 1, "RGB": (255, 255, 255), "L": 255, "LA": (255, 255), "1": 255}[mode]
    image.putpixel((1, 0), white)
    if mode == "P":
        image.putpalette([9, 9, 9, 255, 255, 255])
    if mode != "LA":
        image.info["transparency"] = (0, 0, 0) if mode == "RGB" else 0
    image.save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png has (mode (P|LA)|transparent pixels), expected opaque grey"):
        pillow.read(tmp_path / "a.png")
    array = pillow.read(tmp_path / "a.png", Decoding(mode="grey", background="#505050"))
    assert array[..., 0].tolist() == [[0x50, 255]]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_transparent_level_of_a_png_of_few_levels(tmp_path: Path, depth: int) -> None:
    """Pillow scales the levels to 0 to 255, but not the transparent one."""
    most = 2**depth - 1
    row = bytes([0, (most << (8 - depth)) & 255])  # no filter; the first pixel has the highest level, the second 0
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, depth, 0, [(b"tRNS", struct.pack(">H", most))], row))
    assert pillow.read(path, Decoding(mode="grey", background="#606060"))[..., 0].tolist() == [[0x60, 0]]


def png(
    width: int, height: int, depth: int, colour: int, chunks: list[tuple[bytes, bytes]], rows: bytes, level: int = 9
) -> bytes:
    """A PNG file. ``rows`` are its lines, each after the number of its filter."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    all_chunks = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows, level)), (b"IEND", b"")]
    packed = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in all_chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(("colour", "samples"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_more_than_8_bits_per_channel_are_refused_in_every_mode(tmp_path: Path, colour: int, samples: int) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(png(1, 1, 16, colour, [], bytes(1 + 2 * samples)))
    for how in (Decoding(), Decoding(mode="rgb"), Decoding(mode="grey")):
        with pytest.raises(InputError, match=r"deep\.png has mode .*16.*, expected 8 bits per channel"):
            pillow.read(path, how)
    path.write_bytes(png(1, 1, 8, colour, [], bytes(1 + samples)))
    assert pillow.read(path, Decoding(mode="rgb")).shape == (1, 1, 3)


def test_crops_are_cut_out_without_scaling(tmp_path: Path) -> None:
    whole = np.arange(60, dtype=np.uint8).reshape(6, 10)
    Image.fromarray(whole).save(tmp_path / "a.png")
    centre = pillow.read(tmp_path / "a.png", Decoding(size=(2, 4), crop="centre"))
    assert centre[..., 0].tolist() == whole[2:4, 3:7].tolist()

    def corner(name: str, seed: int = 0) -> int:
        cut = pillow.read(tmp_path / "a.png", Decoding(size=(2, 4), crop="random", seed=seed), name=name)[..., 0]
        top, left = divmod(int(cut[0, 0]), 10)
        assert cut.tolist() == whole[top : top + 2, left : left + 4].tolist()
        return int(cut[0, 0])

    corners = [corner(str(n)) for n in range(300)]
    assert {*corners} == {10 * top + left for top in range(5) for left in range(7)}
    assert corners == [corner(str(n)) for n in range(300)]
    assert corners != [corner(str(n), seed=1) for n in range(300)]
    for crop in ("centre", "random", "tiles"):
        with pytest.raises(InputError, match=r"a\.png is 6×10, smaller than 7×4: choose a smaller size, or omit crop"):
            pillow.read(tmp_path / "a.png", Decoding(size=(7, 4), crop=crop))
    with pytest.raises(InputError, match=r"data\.crop centre needs data\.size"):
        Decoding(crop="centre")


def test_tiles_cover_an_image_row_by_row() -> None:
    whole = np.arange(60, dtype=np.uint8).reshape(6, 10, 1)
    cut = dict(pillow.tiles(whole, Decoding(size=(3, 4), crop="tiles"), "a.png"))
    assert [*cut] == ["a.png/0-0", "a.png/0-4", "a.png/3-0", "a.png/3-4"]
    assert all(
        tile.tolist() == whole[i : i + 3, j : j + 4].tolist()
        for (i, j), tile in zip(((0, 0), (0, 4), (3, 0), (3, 4)), cut.values(), strict=True)
    )
    assert [*dict(pillow.tiles(whole, Decoding(size=(3, 4)), "a.png"))] == ["a.png"]


def test_a_refusal_is_a_value_and_all_of_it_can_go_to_another_process(tmp_path: Path) -> None:
    good, how = write(tmp_path / "good.png"), Decoding(mode="grey", size=(2, 2))
    (tmp_path / "bad.png").write_bytes(b"x")
    for file, wanted in ((good, np.ndarray), (tmp_path / "bad.png", str), (tmp_path / "none.png", str)):
        call = pickle.loads(pickle.dumps(partial(pillow.attempt, file, how, name="a")))
        assert isinstance(call(), wanted)
    assert "none.png cannot be read: No such file" in str(pillow.attempt(tmp_path / "none.png"))


def test_stacking_many_images_moves_none() -> None:
    arrays = [np.full((2, 3, 3), n % 251, np.uint8) for n in range(1000)]
    images = pillow.stack((str(n), array) for n, array in enumerate(arrays))
    assert images.pixels.shape == (1000, 3, 2, 3)
    assert images.pixels[:, 2, 1, 2].tolist() == [n % 251 for n in range(1000)]
    assert len(pillow.stack([])) == 0


def test_a_changed_pixel_of_a_png_is_noticed(tmp_path: Path) -> None:
    """Pillow itself checks no checksum of the pixels if they are complete."""
    path, raw = tmp_path / "a.png", bytes([0, 10, 20, 30])
    stored = png(3, 1, 8, 0, [], raw, level=0)
    path.write_bytes(stored)
    assert pillow.read(path)[0, :, 0].tolist() == [10, 20, 30]
    path.write_bytes(stored.replace(raw, bytes([0, 10, 21, 30])))
    with pytest.raises(InputError, match=r"a\.png is damaged: the checksum of its pixels is wrong"):
        pillow.read(path)


@pytest.mark.parametrize("tag", [b"\x03\x01\x03\0", b"\x06\x01\x03\0"])
def test_a_tiff_file_that_does_not_say_how_it_is_coded_is_refused(tmp_path: Path, tag: bytes) -> None:
    path = tmp_path / "a.tiff"
    Image.new("L", (3, 2), 7).save(path)
    whole = path.read_bytes()
    assert whole.count(tag) == 1
    assert pillow.read(path).max() == 7
    path.write_bytes(whole.replace(tag, b"\xf0\xff\x03\0"))  # another tag instead
    with pytest.raises(InputError, match=r"a\.tiff has no word about its coding"):
        pillow.read(path)


def boxed(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    """A box of ISO/IEC 14496-12. The length 1 means that 64 bits follow, and 0 that it reaches to the end."""
    if length == 1:
        return struct.pack(">I4sQ", 1, kind, 16 + len(content)) + content
    return struct.pack(">I4s", 8 + len(content) if length is None else length, kind) + content


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("mdat", [None, 1])
@pytest.mark.parametrize("meta", [None, 0, 1])
def test_the_depth_of_an_avif_file_is_read_wherever_the_file_says_it(
    tmp_path: Path, bits: int, mdat: int | None, meta: int | None
) -> None:
    """imagecodecs writes the description before the pixels. The format allows it after them, beyond any limit."""
    imagecodecs = pytest.importorskip("imagecodecs", reason="the extra dev is not installed")
    deep = np.random.default_rng(0).integers(0, 2**bits, (200, 200, 3), np.uint16 if bits > 8 else np.uint8)
    whole = bytes(imagecodecs.avif_encode(deep, level=100, bitspersample=bits, numthreads=1))
    boxes, start = {}, 0
    while start < len(whole):
        length = int.from_bytes(whole[start : start + 4], "big")
        boxes[whole[start + 4 : start + 8]] = start, whole[start + 8 : start + length]
        start += length
    assert [*boxes] == [b"ftyp", b"meta", b"mdat"]
    (_, first), (_, described), (pixels, data) = boxes.values()
    assert len(data) > 2**16
    # The description holds the place of the pixels in the file, which moves.
    place = 8 + len(first) + (16 if mdat == 1 else 8)
    was, moved = struct.pack(">I", pixels + 8), struct.pack(">I", place)
    assert described.count(was) == 1
    path = tmp_path / "late.avif"
    path.write_bytes(
        boxed(b"ftyp", first) + boxed(b"mdat", data, mdat) + boxed(b"meta", described.replace(was, moved), meta)
    )
    if bits == 8:
        assert pillow.read(path).shape == (200, 200, 3)
    else:
        with pytest.raises(InputError, match=r"late\.avif has more than 8 bits per channel"):
            pillow.read(path)
