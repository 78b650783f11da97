"""The file of compressed images: a header, the chunks, and an index at the end.

    magic PXR1 | length and JSON of the header | chunk 0 | chunk 1 | … | index | length and CRC-32 | magic 1RXP

Numbers are little-endian. The index is JSON, compressed with zlib: for each chunk its images, their size, its length in
bytes and the CRC-32 of its pixels. The CRC-32 at the end covers header and index. Each chunk is decoded on its own.
"""

import itertools
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from io import BufferedIOBase
from typing import Any

from pixelrnn.errors import InputError, check_number, input_error

MAGIC, END = b"PXR1", b"1RXP"
MOST_HEADER, MOST_INDEX = 2**20, 2**26  # bytes, unpacked
MOST_TILE, MOST_PIXELS = 1024, 2**26  # pixels of a tile's side, and of a chunk


@dataclass(frozen=True)
class Header:
    """The model and the settings, which a reader needs before the first chunk."""

    weights: str
    """The SHA-256 of the model's weights and configuration."""
    numerics: str
    """The SHA-256 of logits that the model computed for made-up images; see `pixelrnn.coding.codec.numerics`."""
    version: str
    """The version of pixelrnn that wrote the file."""
    tile: int
    """The greatest height and width of the parts of an image that are coded alone, in pixels."""
    model: str = ""
    """The name or folder of the model, as the writer knew it."""

    def __post_init__(self) -> None:
        check_number("tile", self.tile, least=8, most=MOST_TILE)
        texts = self.weights, self.numerics, self.version, self.model
        if not all(isinstance(text, str) and text.isprintable() for text in texts):
            raise InputError("its header holds no text where it should")


@dataclass(frozen=True)
class Chunk:
    """Images of one size that are decoded together."""

    images: int
    height: int
    width: int
    length: int
    """Bytes of the chunk in the file."""
    crc: int
    """CRC-32 of the pixels, uint8 (images, C, H, W)."""

    def __post_init__(self) -> None:
        for name, least in {"images": 1, "height": 1, "width": 1, "length": 0, "crc": 0}.items():
            check_number(name, getattr(self, name), least=least, most=2**32 - 1)
        if self.images * self.height * self.width > MOST_PIXELS:
            raise InputError(f"it claims {self.images} images of {self.height}×{self.width}")


@dataclass(frozen=True)
class Index:
    """The chunks of a file, and a name for each image if they have names."""

    chunks: list[Chunk] = field(default_factory=list)
    names: list[str] | None = None

    @property
    def images(self) -> int:
        """The number of images."""
        return sum(chunk.images for chunk in self.chunks)

    @property
    def every_name(self) -> list[str]:
        """The name of each image: its number, if the file has no names."""
        return self.names or [str(n) for n in range(self.images)]


class Writer:
    """Writes a file chunk by chunk."""

    def __init__(self, file: BufferedIOBase, header: Header) -> None:
        self.file, self.chunks = file, list[Chunk]()
        self.header = json.dumps(asdict(header)).encode()
        file.write(MAGIC + struct.pack("<I", len(self.header)) + self.header)

    def add(self, payload: bytes, *, images: int, height: int, width: int, crc: int) -> None:
        """Writes the next chunk."""
        self.chunks.append(Chunk(images, height, width, len(payload), crc))
        self.file.write(payload)

    def finish(self, names: Sequence[str] | None = None) -> None:
        """Writes the index, with the name of each image if they have names."""
        rows = [[c.images, c.height, c.width, c.length, c.crc] for c in self.chunks]
        index = zlib.compress(json.dumps({"chunks": rows, "names": None if names is None else [*names]}).encode(), 9)
        crc = zlib.crc32(index, zlib.crc32(self.header))
        self.file.write(index + struct.pack("<II", len(index), crc) + END)


class Reader:
    """Reads a file. Raises InputError, which begins with ``name``, unless header and index are whole."""

    def __init__(self, file: BufferedIOBase, name: str = "the compressed file") -> None:
        self.file, self.name = file, name
        size = file.seek(0, 2)
        if self._read(0, 4) != MAGIC:
            raise InputError(f"{name} is not a file of compressed images: it does not begin with {MAGIC.decode()}")
        if size < 24 or self._read(size - 4, 4) != END:
            raise InputError(f"{name} is cut off, or something follows its end")
        damaged = f"{name} is damaged"
        with input_error(damaged, Exception):  # damaged bytes can raise anything
            (header_length,) = struct.unpack("<I", self._read(4, 4))
            index_length, crc = struct.unpack("<II", self._read(size - 12, 8))
            self.start, end = 8 + header_length, size - 12 - index_length
            if header_length > MOST_HEADER or index_length > MOST_INDEX or self.start > end:
                raise InputError("a length does not fit the file")
            header, index = self._read(8, header_length), self._read(end, index_length)
            if zlib.crc32(index, zlib.crc32(header)) != crc:
                raise InputError("its checksum does not match")
            self.header = Header(**json.loads(header))
            unpacked = zlib.decompressobj().decompress(index, min(MOST_INDEX, 2**16 + 200 * index_length))
            parts: dict[str, Any] = json.loads(unpacked)
            self.index = Index([Chunk(*row) for row in parts["chunks"]], parts["names"])
            self.places = [*itertools.accumulate((c.length for c in self.index.chunks), initial=self.start)]
            if not self.index.chunks or self.places[-1] != end:
                raise InputError("the chunks do not fill the file")
            names = self.index.names
            if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
                raise InputError("the names are no list of names")
            if names is not None and len(names) != self.index.images:
                raise InputError("the number of names is not that of the images")

    def payload(self, number: int) -> bytes:
        """The bytes of a chunk."""
        return self._read(self.places[number], self.index.chunks[number].length)

    def _read(self, at: int, length: int) -> bytes:
        self.file.seek(at)
        return self.file.read(length)
