"""Turns image files into arrays of one size."""

import warnings
from collections.abc import Iterable
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from pixelrnn.data.config import Mode
from pixelrnn.data.images import Images
from pixelrnn.errors import InputError, input_error
from pixelrnn.files import opened

# We open pixel formats only, whatever the file's name: Pillow would run Ghostscript on a PostScript file.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MOST_PIXELS = 2**26  # a file of a few KB can claim any number; two copies of this many take half a GB

PILLOW_MODES: dict[Mode, str] = {"grey": "L", "rgb": "RGB"}

Array: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def read(file: Path, *, size: tuple[int, int] | None = None, mode: Mode | None = None) -> Array:
    """Reads an image file, or the first frame of an animation, with `to_array`. Raises InputError if it is damaged."""
    with opened(file, most=4 * MOST_PIXELS) as stream:  # Pillow would search gigabytes of zeros for a JPEG's marker
        return decode(stream, size=size, mode=mode, name=str(file))


def decode(
    stream: BufferedReader | BytesIO, *, size: tuple[int, int] | None = None, mode: Mode | None = None, name: str
) -> Array:
    """Decodes the bytes of an image file with `to_array`. Raises InputError with the ``name`` if they are damaged."""
    with (
        warnings.catch_warnings(),
        input_error(f"{name} cannot be read", Exception),
    ):  # damaged bytes can raise anything
        warnings.simplefilter("ignore")
        try:
            with Image.open(stream, formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    claimed = f"{image.height}×{image.width}"
                    raise InputError(f"{name} has {claimed} pixels, expected at most {MOST_PIXELS:,}")
                return to_array(image, size=size, mode=mode, name=name)
        except UnidentifiedImageError as error:
            raise InputError(f"{name} is not an image file, expected {', '.join(FORMATS)}") from error


def check_exact(file: Path) -> None:
    """Raises InputError unless `read` gives all that an image file holds: one picture, opaque, 8 bits per channel."""
    with (
        opened(file, most=4 * MOST_PIXELS) as stream,
        input_error(f"{file} cannot be read", Exception),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        with Image.open(stream, formats=FORMATS) as image:
            decoder, _, _, how = image.tile[0] if image.tile else ("", None, 0, "")
            scaled = str(decoder).startswith("ppm") and "255" not in str(how)
            lost = {
                "several pictures": getattr(image, "n_frames", 1) > 1,
                "transparent pixels": "transparency" in image.info,
                "more than 8 bits per channel": "16" in str(how),
                "intensities from 0 to another number than 255": scaled,
            }
    for what, is_so in lost.items():
        if is_so:
            raise InputError(f"{file} has {what}, which would be lost: convert the file first")


def to_array(image: Image.Image, *, size: tuple[int, int] | None = None, mode: Mode | None = None, name: str) -> Array:
    """An image as uint8 (H, W, C), turned upright according to its EXIF data, and converted to ``mode``.

    If ``size``, (height, width), is given, the image is scaled, and its centre cropped. Raises InputError, which names
    the image, if it has more than 8 bits per channel, or if it is neither grey nor RGB and no ``mode`` is given.
    """
    ImageOps.exif_transpose(image, in_place=True)  # reads the pixels, so damage shows here
    if image.mode.startswith(("I", "F")):
        raise InputError(f"{name} has mode {image.mode}, expected 8 bits per channel: convert the file")
    if mode is not None or image.mode == "1":
        image = image.convert(PILLOW_MODES[mode or "grey"])
    if image.mode not in PILLOW_MODES.values():
        raise InputError(f"{name} has mode {image.mode}, expected grey (L) or RGB: pass mode to convert it")
    if size is not None:
        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.LANCZOS)
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def stack(named: Iterable[tuple[str, Array]]) -> Images:
    """Stacks arrays to images with names. Raises InputError if one differs from the first in size or mode."""
    arrays: dict[str, Array] = {}
    for name, array in named:
        arrays[name] = array
        first = next(iter(arrays))
        if array.shape != arrays[first].shape:
            kinds = [f"{h}×{w} {'grey' if c == 1 else 'RGB'}" for h, w, c in (array.shape, arrays[first].shape)]
            wrong = f"{name} is {kinds[0]}, expected {kinds[1]} like {first}"
            raise InputError(f"{wrong}: pass size and mode to convert them")
    return Images(torch.from_numpy(np.stack([*arrays.values()])).movedim(-1, 1).contiguous(), [*arrays])
