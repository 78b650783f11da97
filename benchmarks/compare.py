"""Compares two models, image by image.

    pixelrnn evaluate runs/one --split test --per-image one.csv
    pixelrnn evaluate runs/other --split test --per-image other.csv
    python benchmarks/compare.py one.csv other.csv

prints the mean lead of the first model in bits/dim (negative: it is behind) with its standard error, the part of images
where it leads, and its lead on the thirds of the images that the other model finds easiest, middling and hardest.
"""

import csv
import math
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def scores(path: Path) -> dict[tuple[str, str], float]:
    """Bits/dim by split and image."""
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return {(row["split"], row["image"]): float(row["bits_per_dim"]) for row in csv.DictReader(file)}


def compare(one: NDArray[np.float64], other: NDArray[np.float64]) -> str:
    """The line to print for the bits/dim of the same images under two models."""
    ahead = other - one
    error = ahead.std(ddof=1) / math.sqrt(len(ahead))
    thirds = [f"{third.mean():+.4f}" for third in np.array_split(ahead[other.argsort()], 3)]
    part = 100 * (ahead > 0).mean()
    return (
        f"{len(ahead):,} images | ahead by {ahead.mean():+.4f} ± {error:.4f} bits/dim, on {part:.1f} %"
        f" | easiest, middle, hardest third {', '.join(thirds)}"
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"compare: expected two files of scores, got {len(sys.argv) - 1}")
    try:
        one, other = (scores(Path(name)) for name in sys.argv[1:])
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"compare: expected two files that `pixelrnn evaluate --per-image` wrote: {error}")
    if one.keys() != other.keys():
        sys.exit("compare: the two files score different images, expected the same images")
    for split in sorted({split for split, _ in one}):
        images = [key for key in one if key[0] == split]
        print(f"{split}, {compare(*(np.array([s[key] for key in images]) for s in (one, other)))}")
