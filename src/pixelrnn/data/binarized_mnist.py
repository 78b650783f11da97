"""The static binarization of MNIST (Salakhutdinov and Murray, 2008), as published or in one .npz file."""

from pathlib import Path

import numpy as np

from pixelrnn.data import array
from pixelrnn.data.config import SplitName
from pixelrnn.data.images import Images, RawImages, from_array
from pixelrnn.errors import InputError
from pixelrnn.files import opened

NAME = "static binarized MNIST"
SPLITS: tuple[SplitName, ...] = ("train", "valid", "test")
SIDE = 28
LINE = 2 * SIDE**2  # bytes of an image: a digit and a separator for each pixel
MOST = 2**28  # bytes of a file; the largest published one has 78,400,000


def load(path: Path) -> RawImages:
    """Reads an .npz file, or a folder with the three published text files ``binarized_mnist_*.amat``."""
    if not path.is_dir():
        return array.load(path, levels=2, name=NAME)
    return RawImages(NAME, 2, {split: read_amat(path / f"binarized_mnist_{split}.amat") for split in SPLITS})


def read_amat(path: Path) -> Images:
    """Reads a text file with a line for each image: its 784 pixels, 0 or 1, with spaces between them."""
    with opened(path, most=MOST) as file:
        text = np.frombuffer(file.read(), np.uint8)
    if not text.size or text.size % LINE:
        raise InputError(f"{path} has {text.size} bytes, expected lines of {SIDE**2} digits and {LINE} bytes")
    lines = text.reshape(-1, LINE)
    pixels, between = lines[:, ::2] - ord("0"), lines[:, 1::2]
    if (between[:, :-1] != ord(" ")).any() or (between[:, -1] != ord("\n")).any():
        raise InputError(f"{path} is damaged: expected {SIDE**2} digits in each line, with spaces between them")
    return from_array(pixels.reshape(-1, SIDE, SIDE), levels=2, name=str(path))
