"""Compresses images of a data set with a model, checks that they come back, and compares sizes and times.

    python benchmarks/compression.py mnist-diagonal-7x32 --data binarized-mnist --images 10000
    python benchmarks/compression.py mnist-diagonal-1x32 --data binarized-mnist --images 256 --batches 1 16 64 256

prints the bytes beside −log₂ p(x), and those of an optimised PNG file for each image and of all raw pixels as xz. With
``--batches`` it also times, for each number of images in turn, sampling, encoding and decoding: the median of three.
"""

import argparse
import lzma
import math
import time
from collections.abc import Callable
from io import BytesIO
from statistics import median
from typing import Any, cast

import torch

from pixelrnn import coding
from pixelrnn.data import DataConfig, load
from pixelrnn.data.config import Source
from pixelrnn.models import ImageModel, from_pretrained
from pixelrnn.pictures import picture, to_8_bit


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def sizes(model: ImageModel, x: torch.Tensor) -> dict[str, float]:
    """Bytes of the images in several formats. Asserts that ours gives the same pixels back."""
    data = coding.encode(model, x)
    assert torch.equal(torch.stack(coding.decode(model, data)), x), "the images do not come back"
    with torch.no_grad():
        bits = sum(-model.log_prob(part).double().sum().item() for part in x.split(50)) / math.log(2)
    png = 0
    for image in to_8_bit(x, model.levels):
        picture(image).save(file := BytesIO(), "PNG", optimize=True)
        png += file.tell()
    packed = x.numpy().tobytes()
    xz = len(lzma.compress(packed, preset=9 | lzma.PRESET_EXTREME))
    return {"−log₂ p(x)": bits / 8, "pixelrnn": len(data), "PNG, a file each": png, "xz of all": xz}


def times(model: ImageModel, x: torch.Tensor) -> str:
    """The line of one number of images."""
    size, data = (x.shape[2], x.shape[3]), coding.encode(model, x)
    calls = (
        lambda: model.sample(len(x), height=size[0], width=size[1]),
        lambda: coding.encode(model, x),
        lambda: coding.decode(model, data),
    )
    rounds = [[seconds(call) for call in calls] for _ in range(3)]
    sample, encode, decode = (median(each) for each in zip(*rounds, strict=True))
    ratios = f"encode {encode / sample:.2f} ×, decode {decode / sample:.2f} × of sampling"
    return f"{len(x):4} images: sample {1000 * sample:.0f} ms, {ratios}, decode {len(x) / decode:.0f} images/s"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", help="name or folder of a PixelRNN without classes")
    parser.add_argument("--data", default="binarized-mnist", help="source of the images, as in pixelrnn train --data")
    parser.add_argument("--path", help="path of the source, as --data.path")
    parser.add_argument("--images", type=int, default=1000, help="number of test images, spread over all of them")
    parser.add_argument("--batches", type=int, nargs="*", default=[], help="numbers of images to time")
    given = parser.parse_args()
    model = from_pretrained(given.model)
    config = DataConfig(source=cast(Source, given.data), path=given.path, levels=model.levels)
    x = load(config).test.spread(given.images).pixels
    print(f"{given.model}, {len(x):,} test images of {given.data}, {torch.get_num_threads()} threads")
    for name, size in sizes(model, x).items():
        print(f"{name:18} {size:12,.0f} bytes {8 * size / x.numel():8.4f} bits/dim")
    for n in given.batches:
        print(times(model, x[:n]))


if __name__ == "__main__":
    main()
