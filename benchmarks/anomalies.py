"""Measures how well scores tell unusual images from the test images of a model's own data.

    python benchmarks/anomalies.py mnist-diagonal-1x32 --foreign kodak
    python benchmarks/anomalies.py photos-256 --data array --path photos.npz --foreign kodak

prints, for each set of unusual images and each score, the AUROC: the probability that an unusual image has a higher
score than a test image. 0.5 is chance. Below 0.5 the score finds the unusual images more usual than the test images.
The scores are those of `pixelrnn evaluate --per-image`; 1,000 validation images set the percentiles. Unusual images:

- upside-down: the test images, turned by 180 degrees
- other digits: scikit-learn's handwritten digits of 8×8 pixels, scaled up and drawn where MNIST has its digits
- foreign: tiles of the image files in the folder ``--foreign``
- shuffled: the test images with their pixels in random order
- noise: each sub-pixel drawn from all levels
- gradients: a ramp from a dark random colour to a bright one, in a random direction
- flat: one random colour
"""

import argparse
import math
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from PIL import __version__ as pillow_version
from PIL import features
from sklearn.metrics import roc_auc_score
from torch import Tensor

from pixelrnn.data import DataConfig, Images, load, requantise
from pixelrnn.data.config import Source
from pixelrnn.data.digits import load as load_digits
from pixelrnn.data.folder import read
from pixelrnn.data.pillow import Decoding
from pixelrnn.errors import InputError
from pixelrnn.models import ImageModel, from_pretrained
from pixelrnn.pictures import save_grid, to_8_bit
from pixelrnn.randomness import generator
from pixelrnn.training.evaluation import score
from pixelrnn.training.unusual import Scores, percentiles, two_sided

USUAL = 1000
SHOWN = 16  # the images of a set in the picture
SCORES = "nats", "two-sided", "excess bits"


def other_digits(n: int, size: tuple[int, int], levels: int) -> Tensor:
    """scikit-learn's digits, as large in their images as MNIST's digits: (n, 1, H, W)."""
    x = load_digits().splits["train"].spread(n).pixels.float() / 16
    height, width = (round(side * 20 / 28) for side in size)
    x = F.interpolate(x, (height, width), mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    x = F.pad(x, (left, size[1] - width - left, top, size[0] - height - top))
    return (x * levels).clamp(max=levels - 1).to(torch.uint8)


def gradients(n: int, channels: int, size: tuple[int, int], levels: int, noise: torch.Generator) -> Tensor:
    """Ramps from a dark random colour to a bright one, each in a random direction."""
    angle = 2 * math.pi * torch.rand(n, 1, 1, 1, generator=noise)
    rows, columns = (torch.linspace(-1, 1, side) for side in size)
    place = angle.cos() * rows[:, None] + angle.sin() * columns
    place = (place / place.abs().amax(dim=(1, 2, 3), keepdim=True) + 1) / 2
    first, last = torch.rand(2, n, channels, 1, 1, generator=noise) / 2 + torch.tensor([0, 0.5]).view(2, 1, 1, 1, 1)
    return ((first + (last - first) * place) * levels).clamp(max=levels - 1).to(torch.uint8)


def unusual_sets(x: Tensor, levels: int, foreign: Path | None) -> dict[str, Tensor]:
    """Sets of as many unusual images as there are test images x, or fewer, with the same shape and levels."""
    n, channels, size, noise = len(x), x.shape[1], (x.shape[2], x.shape[3]), generator(0)
    sets = {
        "upside-down": x.flip(-2, -1),
        "other digits": other_digits(n, size, levels).expand(-1, channels, -1, -1),
    }
    if foreign is not None:
        how = Decoding(size=size, crop="tiles", mode="grey" if channels == 1 else "rgb")
        sets["foreign"] = requantise(read(foreign, how)[0].spread(n).pixels, 256, levels)
    places = torch.rand(n, 1, size[0] * size[1], generator=noise).argsort(dim=-1).expand(-1, channels, -1)
    sets["shuffled"] = x.flatten(2).gather(2, places).view_as(x)
    sets["noise"] = torch.randint(levels, x.shape, generator=noise, dtype=torch.uint8)
    sets["gradients"] = gradients(n, channels, size, levels, noise)
    sets["flat"] = torch.randint(levels, (n, channels, 1, 1), generator=noise, dtype=torch.uint8).expand_as(x)
    return sets


def scores_of(model: ImageModel, x: Tensor, name: str) -> Scores:
    nats = score(model, Images(x), split=name, protocol="").per_image
    return Scores.of(nats, Images(x), model.levels, what=name)


def columns(own: Scores, usual: Scores) -> list[Tensor]:
    """The three scores of `SCORES`. A high one means an unusual image."""
    return [own.nats, two_sided(percentiles(own.nats, usual.nats)), own.excess_bits]


def auroc(normal: Tensor, unusual: Tensor) -> float:
    """The probability that an unusual image has a higher score than a normal one. Equal scores count half."""
    is_unusual = torch.cat([torch.zeros(len(normal)), torch.ones(len(unusual))])
    return float(roc_auc_score(is_unusual, torch.cat([normal, unusual])))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", help="name or folder of a model without classes")
    parser.add_argument("--data", default="binarized-mnist", help="source of the images, as in pixelrnn train --data")
    parser.add_argument("--path", help="path of the source, as --data.path")
    parser.add_argument("--foreign", type=Path, help="folder of image files to cut foreign images out of")
    parser.add_argument("--images", type=int, default=1000, help="number of test images, spread over all of them")
    parser.add_argument("--out", type=Path, help="PNG file to write: test images, then a row of each set")
    given = parser.parse_args()
    try:
        model = from_pretrained(given.model)
    except InputError as error:
        parser.error(str(error))
    if model.classes:
        parser.error(f"{given.model} is conditional on a class, which unusual images do not have")
    data = load(DataConfig(source=cast(Source, given.data), path=given.path, levels=model.levels))
    x = data.test.spread(given.images).pixels
    sets = unusual_sets(x, model.levels, given.foreign)
    usual = scores_of(model, data.valid.spread(USUAL).pixels, "valid")
    test = scores_of(model, x, "test")
    normal = columns(test, usual)
    webp = f"Pillow {pillow_version}, libwebp {features.version('webp')}"
    print(f"{given.model}, {len(x):,} test images of {data.protocol}, {webp}")
    print(f"| images | mean nats | {' | '.join(SCORES)} |\n| --- | --- | --- | --- | --- |")
    print(f"| test | {test.nats.mean().item():.1f} | | | |")
    for name, images in sets.items():
        own = scores_of(model, images, name)
        cells = [f"{auroc(*both):.3f}" for both in zip(normal, columns(own, usual), strict=True)]
        print(f"| {name} | {own.nats.mean().item():.1f} | {' | '.join(cells)} |", flush=True)
    if given.out is not None:
        rows = [each[:: max(1, len(each) // SHOWN)][:SHOWN] for each in (x, *sets.values())]
        save_grid(given.out, to_8_bit(torch.cat(rows), model.levels), columns=SHOWN)


if __name__ == "__main__":
    main()
