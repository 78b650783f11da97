"""Makes images that look like photographs at full resolution, from small JPEG files: the data of the recipe photos-256.

    python benchmarks/photos.py cifar10_jpeg.zip photos.npz

The zip holds JPEG files of 32×32, train/CLASS/0000.jpg and so on, and test/CLASS/…. The first 500 files of each class
become the validation images, so that lossless versions of these files can serve as a test.

A small photograph has sharp edges, and a JPEG file has no noise. A large lossless photograph is smooth and has noise.
So each image is a random part of a file, enlarged up to three times, with some noise of its own.
"""

import argparse
import zipfile
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelrnn.files import replacing
from pixelrnn.progress import track

SIDE, VALID = 32, 500
ZOOMS = 1, 1, 1.5, 2, 3
NOISE = 0.3, 5  # levels: the smallest and largest standard deviation
GREY = 0.6  # the part of the noise that all channels share; the variances of both parts sum to 1


def photograph(image: Image.Image, random: np.random.Generator) -> NDArray[np.uint8]:
    """A random part of an image, enlarged to its size, with noise: (H, W, C)."""
    side = round(SIDE / random.choice(ZOOMS))
    left, top = random.integers(0, SIDE - side + 1, 2)
    enlarged = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    sigma = np.exp(random.uniform(*np.log(NOISE)))
    grey, colour = random.standard_normal((SIDE, SIDE, 1)), random.standard_normal((SIDE, SIDE, 3))
    noisy = np.asarray(enlarged) + sigma * (GREY * grey + np.sqrt(1 - GREY**2) * colour)
    return noisy.round().clip(0, 255).astype(np.uint8)


def split_of(name: str) -> str | None:
    """The split of a file of the zip; None if it is no image."""
    path = PurePosixPath(name)
    if path.suffix != ".jpg":
        return None
    return "valid" if path.parts[0] == "train" and int(path.stem) < VALID else path.parts[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", type=Path, help="the zip of JPEG files")
    parser.add_argument("out", type=Path, help="the .npz file to write, with the arrays train, valid and test")
    given = parser.parse_args()
    images: dict[str, list[Any]] = {"train": [], "valid": [], "test": []}
    with zipfile.ZipFile(given.files) as files:
        for number, name in enumerate(track(sorted(files.namelist()), "reading")):
            if (split := split_of(name)) is not None:
                with Image.open(BytesIO(files.read(name))) as image:
                    images[split].append(photograph(image.convert("RGB"), np.random.default_rng(number)))
    arrays: dict[str, Any] = {split: np.stack(each) for split, each in images.items()}
    with replacing(given.out) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    print(f"{given.out}: " + ", ".join(f"{len(each):,} {split}" for split, each in images.items()))


if __name__ == "__main__":
    main()
