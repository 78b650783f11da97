"""Compresses generated images of all sizes with models of every kind, and checks that they come back.

    python benchmarks/round_trips.py --images 1000 --seed 0

The images are noise, flat colours, gradients and shapes, from 1×1 to 61×47. The models have random weights. Each line
compares the bytes of the chunks with −log₂ p(x). The script fails if a pixel is wrong, or if the chunks are longer than
the density by more than 0.1 % and 8 bytes each.
"""

import argparse
import math
import sys
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from pixelrnn import MultiScalePixelRNN, PixelRNN, coding
from pixelrnn.coding.container import Reader
from pixelrnn.models import ImageModel
from pixelrnn.progress import track

HIGHEST, WIDEST = 61, 47
KINDS: dict[str, dict[str, Any]] = {
    "Diagonal BiLSTM": {},
    "Row LSTM": {"layer": "row-lstm"},
    "PixelCNN": {"layer": "pixel-cnn", "depth": 2},
    "16 levels": {"levels": 16},
    "256 levels": {"levels": 256},
    "RGB": {"channels": 3, "levels": 256},
    "RGB Row LSTM": {"channels": 3, "levels": 4, "layer": "row-lstm"},
    "classes": {"classes": ["a", "b", "c"]},
    "eight orders": {"orders": 8},
    "Multi-Scale": {"factors": (2,), "channels": 3, "levels": 8},
}


def model_of(options: dict[str, Any]) -> ImageModel:
    """A model with random weights, which predicts some levels much better than others."""
    kind: Any = MultiScalePixelRNN if "factors" in options else PixelRNN
    model: ImageModel = kind(**{"levels": 2, "hidden": 3 * options.get("channels", 1), **options})
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    return model.eval()


def image_of(model: ImageModel, size: tuple[int, int], random: np.random.Generator) -> Tensor:
    """Noise, a flat colour, a gradient or shapes: uint8 (C, H, W)."""
    height, width = size
    top, shape = model.levels - 1, (height, width, model.channels)
    kind = random.integers(4)
    if kind == 0:
        x = random.integers(0, top + 1, shape)
    elif kind == 1:
        x = np.broadcast_to(random.integers(0, top + 1, model.channels), shape)
    elif kind == 2:
        x = np.add.outer(np.arange(height), np.arange(width))[..., None] * np.arange(1, model.channels + 1) % (top + 1)
    else:
        drawn = Image.new("RGB", (width, height))
        for _ in range(3):
            (left, right), (up, down) = sorted(random.integers(0, width, 2)), sorted(random.integers(0, height, 2))
            ImageDraw.Draw(drawn).ellipse((left, up, right, down), fill=(*map(int, random.integers(0, 256, 3)),))
        x = np.asarray(drawn).astype(int)[..., : model.channels] * top // 255
    return torch.from_numpy(np.ascontiguousarray(x).astype(np.uint8)).movedim(-1, 0).contiguous()


@torch.no_grad()
def bits_of(model: ImageModel, image: Tensor, label: int | None) -> float:
    """−log₂ p(image), with the bits of its class and its order."""
    tile = coding.TILE
    labels = None if label is None else torch.tensor([label])
    bits = 0.0 if label is None else math.log2(len(model.classes or ()))
    for i in range(0, image.shape[1], tile):
        for j in range(0, image.shape[2], tile):
            part = image[None, :, i : i + tile, j : j + tile]
            each = [model.log_prob(part, order=k, labels=labels).double() for k in range(model.orders)]
            bits += math.log2(model.orders) - torch.cat(each).max().item() / math.log(2)
    return bits


def round_trip(model: ImageModel, images: list[Tensor], labels: list[int] | None) -> tuple[int, int, float, bool]:
    """The number of chunks, their bytes, those of the density, and whether all images came back."""
    coding.write(file := BytesIO(), model, images, labels=labels)
    decoded = coding.decode(model, file.getvalue())
    right = len(decoded) == len(images) and all(torch.equal(*pair) for pair in zip(decoded, images, strict=True))
    chunks = Reader(file).index.chunks
    bits = sum(bits_of(model, image, labels[n] if labels else None) for n, image in enumerate(images))
    return len(chunks), sum(chunk.length for chunk in chunks), bits / 8, right


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=1000, help="number of images, shared by all kinds of models")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    random, faults = np.random.default_rng(given.seed), 0
    for name, options in track(KINDS.items(), "coding"):
        model = model_of(options)
        sizes = random.integers(1, (HIGHEST + 1, WIDEST + 1), (given.images // len(KINDS) // 2, 2)).tolist()
        images = [image_of(model, (h, w), random) for h, w in sizes for _ in range(2)]  # two share a chunk
        labels = [n % len(model.classes) for n in range(len(images))] if model.classes else None
        chunks, size, expected, right = round_trip(model, images, labels)
        fits = size <= 1.001 * expected + 8 * chunks
        faults += not (right and fits)
        verdict = "come back" if right else "ARE WRONG"
        print(f"{name:16} {len(images)} images {verdict}, {size:,} bytes in {chunks} chunks, density {expected:,.0f}")
    print(f"{faults} faults")
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
