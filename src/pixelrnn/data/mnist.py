"""MNIST and Fashion-MNIST in their original format: IDX files, gzipped or not."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pixelrnn.data.config import SplitName
from pixelrnn.data.images import Images, RawImages, from_array
from pixelrnn.errors import InputError, input_error
from pixelrnn.files import most_unpacked, opened

PREFIXES: dict[SplitName, str] = {"train": "train", "test": "t10k"}
FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def load(folder: Path, *, name: Literal["mnist", "fashion-mnist"] = "mnist") -> RawImages:
    """Reads the 60,000 training and 10,000 test images, with their labels if the files of both are there."""
    splits: dict[SplitName, Images] = {}
    for split, prefix in PREFIXES.items():
        array = read_idx(folder, f"{prefix}-images-idx3-ubyte", dimensions=3)
        splits[split] = images = from_array(array, levels=256, name=f"{prefix}-images-idx3-ubyte")
        if _find(folder, file := f"{prefix}-labels-idx1-ubyte"):
            digits = read_idx(folder, file, dimensions=1)
            if len(digits) != len(images) or digits.max() > 9:
                has = f"{len(digits)} labels up to {digits.max(initial=0)}"
                raise InputError(f"{file} in {folder} has {has}, expected {len(images)} labels from 0 to 9")
            images.labels = torch.from_numpy(digits.astype(np.int64))
    return RawImages(name, 256, splits, classes=[*"0123456789"] if name == "mnist" else FASHION)


def read_idx(folder: Path, name: str, *, dimensions: int) -> NDArray[np.uint8]:
    """Reads bytes from an IDX file: big-endian numbers (2048 + dimensions, the shape), then the bytes."""
    path = _find(folder, name)
    if path is None:
        raise InputError(f"no {name} or {name}.gz in {folder}, expected the IDX files of MNIST")
    layout = f">{1 + dimensions}I"
    with opened(path) as file, input_error(f"{path} is damaged", EOFError, gzip.BadGzipFile, zlib.error):
        stream = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
        header = stream.read(struct.calcsize(layout)).ljust(struct.calcsize(layout), b"\0")
        magic, *shape = struct.unpack(layout, header)
        if magic != 2048 + dimensions:
            kind = "images" if dimensions == 3 else "labels"
            raise InputError(f"{path} is not an IDX file of {kind}: its magic is {magic}, expected {2048 + dimensions}")
        if path.suffix == ".gz" and math.prod(shape) > (most := most_unpacked(path)):
            raise InputError(f"{path} would unpack to {math.prod(shape):,} bytes, expected at most {most:,}: unpack it")
        data = stream.read(math.prod(shape) + 1)  # the bytes of the header's shape, and one to notice excess bytes
    if len(data) != math.prod(shape):
        raise InputError(f"{path} is damaged: {len(data)} bytes after the header, expected {math.prod(shape)}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _find(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
