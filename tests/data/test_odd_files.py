"""No odd file is read wrongly: each gives the pixels of an independent reader, or is refused by name."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pixelrnn.data import pillow
from pixelrnn.data.pillow import Decoding
from tests.data import odd_files
from tests.data.odd_files import Odd, Pixels


def shown(wanted: Pixels, background: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """RGBA pixels over a background, as RGB."""
    alpha = wanted[..., 3:] / 255
    return wanted[..., :3] * alpha + background * (1 - alpha)


def read(folder: Path, odd: Odd, background: str = "black") -> pillow.Array | str:
    path = folder / odd.name
    path.write_bytes(odd.content)
    return pillow.attempt(path, Decoding(mode="rgb", background=background))


@pytest.mark.parametrize("odd", odd_files.every(), ids=lambda odd: odd.name)
def test_each_is_read_right_or_refused_by_name(tmp_path: Path, odd: Odd) -> None:
    array = read(tmp_path, odd)
    if odd.wanted is None:
        assert isinstance(array, str), "8 bits do not hold this file"
        assert odd.name in array
        return
    assert not isinstance(array, str), array
    for background, level in (("black", 0), ("#cccccc", 0xCC)):
        array = read(tmp_path, odd, background)
        assert not isinstance(array, str)
        rgb = shown(odd.wanted, level)
        assert array.shape == rgb.shape
        assert np.abs(array - rgb).max() <= max(odd.most, 1)
    plain = pillow.attempt(tmp_path / odd.name)
    if not isinstance(plain, str):  # only opaque grey and RGB are read without a mode
        assert (odd.wanted[..., 3] == 255).all()
        assert np.abs(plain - odd.wanted[..., : plain.shape[2]].astype(int)).max() <= odd.most


def by_opencv(content: bytes) -> Pixels | None:
    """A file as OpenCV reads it, upright: RGBA, or None if OpenCV refuses it."""
    x: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_BGR)
    return None if x is None else odd_files.rgba(x[..., ::-1])


# OpenCV multiplies the colours of a TIFF file by its alpha, does not scale the levels of a PNM file to 255, reads no
# comments in one of text, and reads no HEIC files.
DIFFERENT = re.compile(r"RGBA.*tiff|p\d-(1|15)\.pnm|p[23]-255\.pnm|.*heic")
RIGHT = [odd for odd in odd_files.every() if odd.wanted is not None]


@pytest.mark.parametrize("odd", [odd for odd in RIGHT if not DIFFERENT.match(odd.name)], ids=lambda odd: odd.name)
def test_opencv_finds_the_same_pixels(odd: Odd) -> None:
    assert odd.wanted is not None
    other = by_opencv(odd.content)
    assert other is not None
    assert other.shape == odd.wanted.shape
    assert np.abs(other.astype(int) - odd.wanted)[..., :3].max() <= odd.most


DAMAGED = [bad for odd in RIGHT[::6] if not DIFFERENT.match(odd.name) for bad in odd_files.damaged(odd)]


@pytest.mark.parametrize("odd", DAMAGED, ids=lambda odd: odd.name)
def test_damage_is_named_or_leaves_the_pixels_that_another_reader_finds(tmp_path: Path, odd: Odd) -> None:
    array = read(tmp_path, odd)
    if isinstance(array, str):
        assert odd.name in array
        return
    assert odd.wanted is not None
    whole = shown(odd.wanted, 0)
    if array.shape == whole.shape and np.abs(array - whole).max() <= max(odd.most, 1):
        return  # the damage is beyond the pixels
    found = [shown(odd_files.turned(k, odd_files.stored(odd.content)), 0) for k in odd_files.ORIENTED]
    assert any(x.shape == array.shape and np.abs(array - x).max() <= max(odd.most, 1) for x in found)


def test_there_are_many_and_of_every_kind() -> None:
    files = [*odd_files.every(), *DAMAGED]
    assert len(files) >= 200
    assert len({odd.name for odd in files}) == len(files)
    endings = {odd.name.rpartition(".")[2] for odd in files}
    assert endings >= {"png", "jpeg", "webp", "tiff", "bmp", "gif", "pnm", "pbm", "avif"}
