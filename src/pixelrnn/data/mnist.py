"""MNIST as it is published: IDX files, gzipped or not."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from pixelrnn.data.images import Images, RawImages, from_array
from pixelrnn.errors import InputError


def load(folder: Path) -> RawImages:
    """The 60,000 training and 10,000 test images.

    Raises:
        InputError: a file is missing or damaged.
    """
    train, test = read_idx(folder, "train-images-idx3-ubyte"), read_idx(folder, "t10k-images-idx3-ubyte")
    return RawImages("mnist", 256, {"train": train, "test": test})


def read_idx(folder: Path, name: str) -> Images:
    """Images from an IDX file: a header of four big-endian numbers (2051, N, H, W), then N·H·W bytes.

    Raises:
        InputError: the file is missing, is no IDX file of images, or is damaged.
    """
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise InputError(f"no {name} or {name}.gz in {folder}")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    magic, *shape = struct.unpack(">4I", data[:16]) if len(data) >= 16 else (0,)
    if magic != 2051:
        raise InputError(f"{path} is no IDX file of images: it begins with {magic}, expected 2051")
    n, height, width = shape
    if len(data) != 16 + n * height * width:
        raise InputError(f"{path} is damaged: {len(data)} bytes, expected {16 + n * height * width}")
    return from_array(np.frombuffer(data, np.uint8, offset=16).reshape(n, height, width), levels=256, name=str(path))
