"""Compresses images of a data set with a model, checks that they come back, and compares sizes and times.

    python benchmarks/compression.py mnist-diagonal-7x32 --data binarized-mnist --images 10000
    python benchmarks/compression.py mnist-diagonal-1x32 --data binarized-mnist --images 256 --batches 1 16 64 256

prints the bytes beside −log₂ p(x), and those of other formats as `pixelrnn compress --report` does. With ``--batches``
it also times, for each number of images in turn, sampling, encoding and decoding: the median of three.
"""

import argparse
import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any, cast

import torch

from pixelrnn import coding
from pixelrnn.cli.compression import Sizes
from pixelrnn.data import DataConfig, Images, load
from pixelrnn.data.config import Source
from pixelrnn.models import ImageModel, from_pretrained
from pixelrnn.pictures import to_8_bit
from pixelrnn.progress import track


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def sizes(model: ImageModel, x: torch.Tensor) -> str:
    """The bytes of the images in several formats. Asserts that ours gives the same pixels back."""
    data = coding.encode(model, x)
    assert torch.equal(torch.stack(coding.decode(model, data)), x), "the images do not come back"
    others = Sizes()
    for image in track(to_8_bit(x, model.levels), "other formats"):
        others.add(image)
    with torch.no_grad():
        bits = sum(-model.log_prob(part).double().sum().item() for part in x.split(50)) / math.log(2)
    return f"{'−log₂ p(x)':30} {bits / 8:12,.0f} bytes {bits / x.numel():8.4f} bits/dim\n{others.table(len(data))}"


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
    parser.add_argument("--all", action="store_true", help="take the images of all splits instead of the test split")
    parser.add_argument("--images", type=int, help="number of images, spread over all of them: all by default")
    parser.add_argument("--batches", type=int, nargs="*", default=[], help="numbers of images to time")
    given = parser.parse_args()
    model = from_pretrained(given.model)
    config = DataConfig(source=cast(Source, given.data), path=given.path, levels=model.levels)
    data = load(config, only_look=True)
    x = torch.cat([images.pixels for images in data.splits.values()]) if given.all else data.test.pixels
    x = Images(x).spread(given.images or len(x)).pixels
    split = "images" if given.all else "test images"
    print(f"{given.model}, {len(x):,} {split} of {given.data}, {torch.get_num_threads()} threads")
    print(sizes(model, x))
    for n in given.batches:
        print(times(model, x[:n]))


if __name__ == "__main__":
    main()
