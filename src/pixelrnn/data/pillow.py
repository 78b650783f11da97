"""Turns image files into arrays of one size."""

import hashlib
import os
import re
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageColor, ImageOps, UnidentifiedImageError

from pixelrnn.data.config import Crop, DataConfig, Mode
from pixelrnn.data.report import with_others
from pixelrnn.errors import InputError, check_number, input_error
from pixelrnn.files import opened

if TYPE_CHECKING:
    from pixelrnn.data.images import Images

# We open pixel formats only, whatever the file's name: Pillow would run Ghostscript on a PostScript file.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", "AVIF", "HEIF")

PILLOW_MODES: dict[Mode, str] = {"grey": "L", "rgb": "RGB"}

# The turn that makes an image of each EXIF orientation upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Array: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How an image file becomes an array: the options of `pixelrnn.data.DataConfig` of the same names."""

    size: tuple[int, int] | None = None
    crop: Crop | None = None
    mode: Mode | None = None
    background: str = "white"
    max_pixels: int = 2**26
    seed: int = 0

    @classmethod
    def of(cls, config: DataConfig, **changed: Any) -> "Decoding":
        """The decoding that a configuration describes, with some options changed."""
        return cls(**{name: getattr(config, name) for name in cls.__slots__} | changed)

    def __post_init__(self) -> None:
        for n in self.size or ():
            check_number("data.size", n, least=1, most=4096)
        check_number("data.max_pixels", self.max_pixels, least=1, most=2**40)
        check_number("data.seed", self.seed, least=0, most=2**32 - 1)
        if self.crop is not None and self.size is None:
            raise InputError(f"data.crop {self.crop} needs data.size, the height and width to cut out")
        try:
            ImageColor.getrgb(self.background)
        except ValueError as error:
            wanted = "a colour such as white, black or #808080"
            raise InputError(f"data.background must be {wanted}, got {self.background!r}") from error


@cache
def formats() -> tuple[str, ...]:
    """The formats that this installation can open; HEIF needs the extra ``heif``."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    Image.init()
    return tuple(form for form in FORMATS if form in Image.OPEN)


def endings() -> set[str]:
    """The endings of the names of image files in these formats, in lower case and with the dot."""
    can_open = formats()
    return {ending for ending, form in Image.registered_extensions().items() if form in can_open}


def read(file: Path, how: Decoding = Decoding(), *, name: str = "") -> Array:
    """Reads an image file, or the first frame of an animation, as uint8 (H, W, C).

    The result depends only on the bytes of the file, ``how`` and, for a random crop, ``name``. For the crop ``tiles``
    it is the whole image: `tiles` cuts it. Raises InputError if the file is damaged or does not fit.
    """
    # Pillow would search gigabytes of zeros for a JPEG's marker.
    with opened(file, most=4 * how.max_pixels + 2**20) as stream:
        return decode(stream, how, path=str(file), name=name)


def attempt(file: Path | bytes, how: Decoding = Decoding(), *, name: str = "", path: str = "") -> Array | str:
    """As `read`, but returns the reason if the file, or its bytes, cannot be used. Worker processes can return both.

    The errors of bytes name ``path``.
    """
    try:
        if isinstance(file, bytes):
            return decode(BytesIO(file), how, path=path, name=name)
        path = str(file)
        return read(file, how, name=name)
    except InputError as error:
        return str(error)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}"


def decode(stream: BufferedReader | BytesIO, how: Decoding = Decoding(), *, path: str, name: str = "") -> Array:
    """Decodes the bytes of an image file as `read` does. The errors name ``path``."""
    with _opened(stream, path=path, max_pixels=how.max_pixels) as image:
        if fault := _fault(image, stream):
            raise InputError(f"{path} has {fault}, expected 8 bits per channel: convert the file")
        if image.mode == "L" and isinstance(level := image.info.get("transparency"), int):
            # Pillow scales the levels of a PNG of 2 or 4 bits to 0 to 255, but not the transparent one.
            image.info["transparency"] = level * {"L;2": 85, "L;4": 17}.get(_coding(image)[0], 1)
        if image.format == "PNG":
            _check_png(stream, path)
        return to_array(image, how, path=path, name=name)


def _check_png(stream: BufferedReader | BytesIO, path: str) -> None:
    """Raises InputError if the checksum of a piece of the pixels is wrong. Pillow checks those of other chunks only."""
    place = stream.tell()
    stream.seek(8)
    while len(start := stream.read(8)) == 8 and start[4:] != b"IEND":
        length = int.from_bytes(start[:4], "big")
        if start[4:] == b"IDAT":
            piece, checksum = stream.read(length), stream.read(4)
            if len(checksum) == 4 and zlib.crc32(start[4:] + piece) != int.from_bytes(checksum, "big"):
                raise InputError(f"{path} is damaged: the checksum of its pixels is wrong")
        else:
            stream.seek(length + 4, os.SEEK_CUR)
    stream.seek(place)


@contextmanager
def _opened(stream: BufferedReader | BytesIO, *, path: str, max_pixels: int) -> Iterator[Image.Image]:
    """Opens an image. Any error in the block becomes an InputError, because damaged bytes can raise anything."""
    pillows_limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings(), input_error(f"{path} cannot be read", Exception):
        warnings.simplefilter("ignore")
        try:
            Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow refuses images of twice as many
            with Image.open(stream, formats=formats()) as image:
                if image.width * image.height > max_pixels:
                    claimed = f"{image.height}×{image.width}"
                    raise InputError(f"{path} has {claimed} pixels, expected at most {max_pixels:,} (data.max_pixels)")
                yield image
        except Image.DecompressionBombError as error:
            raise InputError(f"{path} has more than {max_pixels:,} pixels (data.max_pixels): {error}") from error
        except UnidentifiedImageError as error:
            raise InputError(f"{path} is not an image file, expected {', '.join(formats())}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = pillows_limit


def _coding(image: Any) -> tuple[str, int]:
    """How the file codes a pixel, in Pillow's words, and the highest intensity of a PPM file (otherwise 255)."""
    if not image.tile:
        return "", 255
    codec, _, _, how = image.tile[0]
    parts = how if isinstance(how, tuple) else (how,)
    levels = next((part for part in parts[1:] if isinstance(part, int)), 255) if codec.startswith("ppm") else 255
    return str(parts[0]) if parts else "", levels


def _fault(image: Image.Image, stream: BufferedReader | BytesIO) -> str:
    """What Pillow would round or misread without a word: other numbers than 8 unsigned bits per channel."""
    raw, highest = _coding(image)
    wide = re.search(r";(?:12|16|32)", raw) if image.format != "BMP" else None  # a BMP of 16 bits has 5 per channel
    if image.mode.startswith(("I", "F")) or wide or highest > 255 or image.info.get("bit_depth", 8) > 8:
        return f"mode {raw if wide and not image.mode.startswith(('I', 'F')) else image.mode}"
    if image.format == "TIFF":
        tags: Any = image
        if max(tags.tag_v2.get(258, (1,))) > 8:  # BitsPerSample; a planar file hides it from `_coding`
            return "more than 8 bits per channel"
        if set(tags.tag_v2.get(339, (1,))) - {1}:  # SampleFormat
            return "signed intensities"
        if not {259, 262} <= {*tags.tag_v2}:  # Pillow would guess Compression and PhotometricInterpretation
            return "no word about its coding"
    if image.format == "AVIF":
        # The third byte of the box av1C tells 8 bits per channel from 10 or 12.
        boxes = b"".join(_boxes(stream, b"meta", b"moov"))
        if any(flags[0] & 0x40 for flags in re.findall(rb"av1C..(.)", boxes, re.DOTALL)):
            return "more than 8 bits per channel"
    return ""


def _boxes(stream: BufferedReader | BytesIO, *kinds: bytes) -> Iterator[bytes]:
    """The contents of a file's outermost boxes of these kinds, in the format of ISO/IEC 14496-12. They lie anywhere."""
    start, end = 0, stream.seek(0, os.SEEK_END)
    while start + 8 <= end:
        stream.seek(start)
        header = stream.read(16)
        length, first = int.from_bytes(header[:4], "big"), 8
        if length == 1:  # the length has 64 bits
            length, first = int.from_bytes(header[8:], "big"), 16
        length = length if length else end - start  # 0: the box reaches to the end of the file
        if length < first:
            return
        if header[4:8] in kinds:
            stream.seek(start + first)
            yield stream.read(length - first)
        start += length


def check_exact(file: Path) -> None:
    """Raises InputError unless `read` gives all that an image file holds: one picture, opaque, 8 bits per channel."""
    how = Decoding()
    with (
        opened(file, most=4 * how.max_pixels + 2**20) as stream,
        _opened(stream, path=str(file), max_pixels=how.max_pixels) as image,
    ):
        lost = {
            "several pictures": getattr(image, "n_frames", 1) > 1,
            "transparent pixels": "transparency" in image.info,
            "intensities from 0 to another number than 255": _coding(image)[1] != 255,
            "more than 8 bits per channel": bool(_fault(image, stream)),
        }
    for what, is_so in lost.items():
        if is_so:
            raise InputError(f"{file} has {what}, which would be lost: convert the file first")


def to_array(image: Image.Image, how: Decoding = Decoding(), *, path: str, name: str = "") -> Array:
    """An image as uint8 (H, W, C): turned upright, on the background, in the mode and of the size that are wanted.

    Raises InputError, which names the ``path``, if no mode is given and the image is neither grey nor RGB, or has
    transparent pixels; or if it is smaller than a crop.
    """
    image = _upright(image)
    is_simple = image.mode in ("1", *PILLOW_MODES.values())
    if how.mode is None and (not is_simple or image.has_transparency_data):
        kind = "transparent pixels" if is_simple else f"mode {image.mode}"
        raise InputError(f"{path} has {kind}, expected opaque grey (L) or RGB: pass mode to convert it")
    if image.has_transparency_data:
        image = _opaque(image, how.background)
    if how.mode is not None or image.mode == "1":
        image = image.convert(PILLOW_MODES[how.mode or "grey"])
    if how.size is not None:
        image = _sized(image, how, how.size, path=path, name=name)
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def _upright(image: Image.Image) -> Image.Image:
    """Turns an image as its EXIF data says. `PIL.ImageOps.exif_transpose` fails where other EXIF fields are odd."""
    image.load()
    orientation = None
    with suppress(Exception):  # EXIF data can hold anything; image viewers, too, show such a file as it is stored
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _opaque(image: Image.Image, background: str) -> Image.Image:
    """Draws an image over a background, as RGB."""
    behind = Image.new("RGBA", image.size, ImageColor.getrgb(background)[:3])
    return Image.alpha_composite(behind, image.convert("RGBA")).convert("RGB")


def _sized(image: Image.Image, how: Decoding, size: tuple[int, int], *, path: str, name: str) -> Image.Image:
    height, width = size
    if how.crop is None:
        return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    left, top = image.width - width, image.height - height
    if left < 0 or top < 0:
        has = f"{path} is {image.height}×{image.width}, smaller than {height}×{width}"
        raise InputError(f"{has}: choose a smaller size, or omit crop to scale it")
    if how.crop == "tiles":
        return image
    if how.crop == "random":
        digest = hashlib.blake2b(os.fsencode(f"{how.seed}/crop/{name}"), digest_size=16).digest()
        left = int.from_bytes(digest[:8], "big") % (left + 1)
        top = int.from_bytes(digest[8:], "big") % (top + 1)
    else:
        left, top = left // 2, top // 2
    return image.crop((left, top, left + width, top + height))


def tiles(array: Array, how: Decoding, name: str) -> Iterator[tuple[str, Array]]:
    """The images that one file gives, with their names: all whole tiles row by row, or the one array.

    A tile is named after its file and its upper left corner: ``photos/a.png/0-64``.
    """
    if how.crop != "tiles" or how.size is None:
        yield name, array
        return
    height, width = how.size
    for top in range(0, array.shape[0] - height + 1, height):
        for left in range(0, array.shape[1] - width + 1, width):
            yield f"{name}/{top}-{left}", array[top : top + height, left : left + width]


def stack(named: Iterable[tuple[str, Array]]) -> "Images":
    """Stacks arrays to images with names. Raises InputError that names those of another size or mode."""
    import torch  # here, because the processes that decode image files do without it

    from pixelrnn.data.images import Images

    names: list[str] = []
    others: dict[tuple[int, ...], list[str]] = {}
    pixels = np.empty((0, 0, 0, 0), np.uint8)
    for name, array in named:
        shape = array.shape[2], *array.shape[:2]
        if not names:
            pixels = np.empty((64, *shape), np.uint8)
        if shape != pixels.shape[1:]:
            others.setdefault(shape, []).append(name)
            continue
        if len(names) == len(pixels):  # the buffer grows in place, so memory never holds the images twice
            pixels.resize((len(names) * 5 // 4, *shape), refcheck=False)
        pixels[len(names)] = array.transpose(2, 0, 1)
        names.append(name)
    if others:
        raise unlike(others, names[0], len(names), pixels.shape[1:])
    pixels.resize((len(names), *pixels.shape[1:]), refcheck=False)
    return Images(torch.from_numpy(pixels), names)


SHAPES = 5  # the most shapes that a message names


def unlike(
    others: Mapping[tuple[int, ...], Sequence[str]], first: str, count: int, shape: tuple[int, ...]
) -> InputError:
    """The error of images whose shape (C, H, W) is not that of the ``first``, which ``count`` images have."""
    told, left = [*others.items()][:SHAPES], [*others.values()][SHAPES:]
    odd = "; ".join(with_others(f"{own[0]} is {_kind(each)}", own[1:]) for each, own in told)
    if left:
        odd += f"; {sum(map(len, left)):,} more images have {len(left):,} other kinds of size or mode"
    more = f" and {count - 1:,} more" if count > 1 else ""
    return InputError(f"{odd}, expected {_kind(shape)} like {first}{more}: pass size and mode to convert them")


def _kind(shape: tuple[int, ...]) -> str:
    """The size and the mode of an array (C, H, W) in words."""
    channels, height, width = shape
    return f"{height}×{width} {'grey' if channels == 1 else 'RGB'}"
