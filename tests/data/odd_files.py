"""Image files of every kind, and the pixels that a right reader finds in each."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
RANDOM = np.random.default_rng(0)

ORIENTED = {  # an upright image, as a file of each EXIF orientation stores it
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[::-1],
    7: lambda x: x.swapaxes(0, 1)[::-1, ::-1],
    8: lambda x: x.swapaxes(0, 1)[:, ::-1],
}


@dataclass
class Odd:
    """A file, and its RGBA pixels (H, W, 4), upright. None if it must be refused, because 8 bits do not hold them."""

    name: str
    content: bytes
    wanted: Pixels | None
    most: int = 0
    """The largest difference that is allowed: lossy formats and colour conversions round differently."""


def rgba(x: NDArray[Any]) -> Pixels:
    """Grey (H, W) or (H, W, 1), grey with alpha, RGB or RGBA as RGBA."""
    x = x[..., None] if x.ndim == 2 else x
    grey = x.shape[2] < 3
    colour = x[..., :1].repeat(3, axis=2) if grey else x[..., :3]
    alpha = x[..., -1:] if x.shape[2] in (2, 4) else np.full_like(x[..., :1], 255)
    return np.concatenate([colour, alpha], axis=2).astype(np.uint8)


def noise(height: int, width: int, channels: int = 1, most: int = 255) -> NDArray[Any]:
    return RANDOM.integers(0, most + 1, (height, width, channels))


def smooth(height: int, width: int, channels: int) -> Pixels:
    """A gradient, which lossy formats keep. No symmetry maps it to itself."""
    i, j = np.mgrid[:height, :width]
    return np.stack([(20 + 5 * i + (3 + c) * j) % 256 for c in range(channels)], axis=-1).astype(np.uint8)


def png(
    samples: NDArray[Any], depth: int, colour: int, extra: list[tuple[bytes, bytes]], *, adam7: bool = False
) -> bytes:
    """A PNG file of samples (H, W, C), written without any library."""
    height, width, _ = samples.shape
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    lines = b""
    for top, left, down, right in passes if adam7 else [(0, 0, 1, 1)]:
        for row in samples[top::down, left::right]:
            bits = (row[..., None].astype(int) >> np.arange(depth)[::-1]) & 1
            if bits.size:
                lines += b"\0" + np.packbits(bits.ravel()).tobytes()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, adam7)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    packed = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def pngs() -> Iterator[Odd]:
    kinds = [(0, d, 1) for d in (1, 2, 4, 8, 16)] + [(3, d, 1) for d in (1, 2, 4, 8)]
    kinds += [(colour, d, c) for colour, c in ((2, 3), (4, 2), (6, 4)) for d in (8, 16)]
    for colour, depth, channels in kinds:
        for k, (height, width) in enumerate(((1, 1), (5, 3), (9, 17), (11, 13))):
            for transparent in (False, True) if colour in (0, 2, 3) and k else (False,):
                most = 2**depth - 1
                samples = noise(height, width, channels, most)
                extra: list[tuple[bytes, bytes]] = []
                if colour == 3:
                    palette = noise(1, most + 1, 3)[0]
                    alpha = noise(1, most + 1, 1)[0] if transparent else np.full((most + 1, 1), 255)
                    extra = [(b"PLTE", palette.astype(np.uint8).tobytes())]
                    extra += [(b"tRNS", alpha.astype(np.uint8).tobytes())] * transparent
                    seen = np.concatenate([palette, alpha], axis=1)[samples[..., 0]]
                else:
                    seen = rgba(samples * 255 // most if depth < 16 else samples * 0)
                    if transparent:
                        clear = samples[0, 0]
                        extra = [(b"tRNS", b"".join(struct.pack(">H", int(v)) for v in clear))]
                        seen[..., 3] = np.where((samples == clear).all(axis=2), 0, 255)
                name = f"png-{colour}-{depth}-{height}x{width}{'-clear' * transparent}{'-adam7' * (k == 3)}.png"
                content = png(samples, depth, colour, extra, adam7=k == 3)
                yield Odd(name, content, None if depth == 16 else seen.astype(np.uint8))


def exif_of(orientation: int, *, odd: bool) -> bytes:
    """EXIF data with the orientation, and with a resolution that is text if ``odd``."""
    entries = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    entries += struct.pack(">HHI4s", 0x011A, 2, 4, b"72\0\0") * odd
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 1 + odd) + entries + bytes(4)


def saved(image: Image.Image, form: str, **how: Any) -> bytes:
    packed = BytesIO()
    image.save(packed, form, **how)
    return packed.getvalue()


def stored(content: bytes) -> Pixels:
    """The pixels of a file as OpenCV reads them, not turned upright."""
    x: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    return rgba(x[..., ::-1] if x.ndim == 3 and x.shape[2] == 3 else x if x.ndim == 2 else x[..., [2, 1, 0, 3]])


def turned(orientation: int, x: Pixels) -> Pixels:
    """Stored pixels, upright."""
    back = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    return np.ascontiguousarray(ORIENTED[back](x))


def photos() -> Iterator[Odd]:
    for orientation in range(1, 9):
        for channels in (1, 3):
            image = Image.fromarray(smooth(24, 40, channels).squeeze())
            codings: dict[str, dict[str, Any]] = {
                "JPEG": {"quality": 95, "progressive": orientation % 2},
                "WEBP": {"quality": 95, "lossless": orientation % 2},
                "PNG": {},
                "TIFF": {"compression": "tiff_lzw" if orientation % 2 else None},
            }
            for form, how in codings.items():
                exif = exif_of(orientation, odd=channels == 3 and form != "TIFF")
                content = saved(image, form, exif=exif, **how)
                is_exact = form in ("PNG", "TIFF")
                seen = rgba(smooth(24, 40, channels)) if is_exact else stored(content)
                name = f"turned-{orientation}-{channels}.{form.lower()}"
                yield Odd(name, content, turned(orientation, seen), 0 if is_exact else 6)
    for subsampling in (0, 1, 2):
        content = saved(Image.fromarray(smooth(17, 31, 3)), "JPEG", subsampling=subsampling)
        yield Odd(f"subsampling-{subsampling}.jpg", content, stored(content), 24)
    ink = smooth(16, 24, 4)
    for form in ("JPEG", "TIFF"):
        content = saved(Image.frombytes("CMYK", (24, 16), ink.tobytes()), form, quality=100)
        white = 255 - ink.astype(float)
        yield Odd(f"cmyk.{form.lower()}", content, rgba(white[..., :3] * white[..., 3:] / 255), 8)


def others() -> Iterator[Odd]:
    for height, width in ((1, 1), (5, 3), (9, 17)):
        grey, colour, clear = (noise(height, width, c).astype(np.uint8) for c in (1, 3, 4))
        bits = (noise(height, width, 1, 1) * 255).astype(np.uint8)
        images = {
            "L": (Image.fromarray(grey[..., 0]), grey),
            "RGB": (Image.fromarray(colour), colour),
            "RGBA": (Image.fromarray(clear), clear),
            "1": (Image.fromarray(bits[..., 0]).convert("1"), bits),
        }
        for form, modes in (
            ("BMP", ("L", "RGB", "1")),
            ("GIF", ("L", "1")),
            ("TIFF", ("L", "RGB", "RGBA", "1")),
            ("WEBP", ("RGB", "RGBA")),
        ):
            for mode in modes:
                image, x = images[mode]
                exact: dict[str, Any] = {"lossless": True, "exact": True} if form == "WEBP" else {}
                codings = {"TIFF": ("raw", "tiff_lzw", "tiff_deflate", "packbits")}.get(form, ("",))
                for coding in codings:
                    how = exact | ({"compression": coding} if coding else {})
                    name = f"{mode}-{height}x{width}-{coding}.{form.lower()}"
                    yield Odd(name, saved(image, form, **how), rgba(x))
        yield Odd(f"{height}x{width}.tiff", saved(Image.fromarray(grey[..., 0].astype(np.uint16) * 257), "TIFF"), None)
        yield Odd(f"float-{height}x{width}.tiff", saved(Image.fromarray(grey[..., 0].astype(np.float32)), "TIFF"), None)
        yield Odd(f"deep-{height}x{width}.tiff", _deep_tiff(noise(height, width, 3, 65535).astype("<u2"), 16, 1), None)
        planes = noise(height, width, 3, 65535).astype("<u2")
        yield Odd(f"planar-deep-{height}x{width}.tiff", _deep_tiff(planes, 16, 1, is_planar=True), None)
        shallow = colour.astype(np.uint8)
        yield Odd(f"planar-{height}x{width}.tiff", _deep_tiff(shallow, 8, 1, is_planar=True), rgba(shallow))
        yield Odd(f"signed-{height}x{width}.tiff", _deep_tiff(colour[..., :1].astype(np.uint8), 8, 2), None)


def _deep_tiff(x: NDArray[Any], depth: int, sample_format: int, *, is_planar: bool = False) -> bytes:
    """A TIFF file of one strip, or of one for each channel, written without any library."""
    height, width, channels = x.shape
    tags = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 1, depth),
        (259, 3, 1, 1),
        (262, 3, 1, 2 if channels == 3 else 1),
        (273, 4, 1, 0),
        (277, 3, 1, channels),
        (278, 3, 1, height),
        (279, 4, 1, x.nbytes),
        (284, 3, 1, 1 + is_planar),
        (339, 3, 1, sample_format),
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    if channels == 3:  # three numbers do not fit into a tag
        tags[2], tags[-1] = (258, 3, 3, start), (339, 3, 3, start + 6)
    words = struct.pack("<3H3H", *[depth] * 3, *[sample_format] * 3) if channels == 3 else b""
    tags[5] = (273, 4, 1, start + len(words))
    if is_planar:
        size, first = x.nbytes // channels, start + len(words) + 8 * channels
        tags[5], tags[8] = (273, 4, channels, start + len(words)), (279, 4, channels, first - 4 * channels)
        words += struct.pack(f"<{channels}I", *range(first, first + x.nbytes, size))
        words += struct.pack(f"<{channels}I", *[size] * channels)
        x = np.moveaxis(x, -1, 0)
    table = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + table + bytes(4) + words + x.tobytes()


def portable() -> Iterator[Odd]:
    for most in (1, 15, 255, 256, 65535):
        for kind, channels in ((2, 1), (3, 3), (5, 1), (6, 3)):
            samples = noise(5, 7, channels, most)
            packed = samples.astype(">u2" if most > 255 else np.uint8).tobytes()
            body = " ".join(map(str, samples.ravel().tolist())).encode() if kind < 4 else packed
            wanted = None if most > 255 else rgba(np.floor(samples * 255 / most + 0.5))
            yield Odd(
                f"p{kind}-{most}.pnm", f"P{kind}\n# odd\n7 5\n{most}\n".encode() + body, wanted, most=int(most < 255)
            )
    bits = noise(5, 9, 1, 1)
    black = rgba(255 * (1 - bits))
    yield Odd("p1.pbm", b"P1\n9 5\n" + " ".join(map(str, bits.ravel().tolist())).encode(), black)
    yield Odd("p4.pbm", b"P4\n9 5\n" + np.packbits(bits[..., 0], axis=1).tobytes(), black)
    yield Odd("floats.pfm", b"Pf\n2 1\n-1.0\n" + np.array([0.5, 1], np.float32).tobytes(), None)


def modern() -> Iterator[Odd]:
    for channels in (3, 4):
        x = smooth(16, 24, channels)
        x[..., 3:] = 255 - x[..., 3:] // 2
        content = bytes(imagecodecs.avif_encode(x, level=100))
        yield Odd(f"{channels}.avif", content, rgba(imagecodecs.avif_decode(content)), 2)
        deep = (smooth(16, 24, channels).astype(np.uint16)) * 4
        for depth, wanted in ((8, rgba(x)), (10, None)):
            samples = x if depth == 8 else (x.astype(np.uint16) << 8)
            mode = "RGBA"[:channels] + (";16" if depth > 8 else "")
            height, width = x.shape[:2]
            heif = pillow_heif.from_bytes(mode=mode, size=(width, height), data=samples.tobytes())
            packed = BytesIO()
            heif.save(packed, quality=100, bit_depth=depth)
            yield Odd(f"{channels}-{depth}.heic", packed.getvalue(), wanted, 9)
        yield Odd(f"deep-{channels}.avif", bytes(imagecodecs.avif_encode(deep, level=100, bitspersample=10)), None)


@cache
def every() -> list[Odd]:
    """All files, undamaged."""
    return [*pngs(), *photos(), *others(), *portable(), *modern()]


def damaged(odd: Odd) -> Iterator[Odd]:
    """A file cut short, and with bytes in its middle changed."""
    middle = len(odd.content) // 2
    for name, content in {
        "half": odd.content[:middle],
        "head": odd.content[:12],
        "flip": odd.content[:middle]
        + bytes(b ^ 0x5A for b in odd.content[middle : middle + 4])
        + odd.content[middle + 4 :],
        "zero": odd.content[:middle] + bytes(len(odd.content) - middle),
    }.items():
        yield Odd(f"{name}-{odd.name}", content, odd.wanted, odd.most)
