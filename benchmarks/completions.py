"""Compares how well models complete half of each test digit, given the other half.

    python benchmarks/completions.py mnist-diagonal-7x32 mnist-orders --keep bottom --out docs/from-below.png

prints, for each model, the mean of −log p(hidden half) over 1,000 binarized test digits, in nats. Each sub-pixel's term
is given all pixels before it in the order that `ImageModel.complete` would take. If the kept half comes first in this
order, the sum is −log p(hidden | kept); otherwise the model cannot use the kept half, or only parts of it. The picture
shows twelve of the digits: originals, what is kept, and the completions by each model.
"""

import argparse
import math
from pathlib import Path

import torch

from pixelrnn.cli.inputs import kept
from pixelrnn.data import DataConfig, load
from pixelrnn.models import ImageModel, from_pretrained
from pixelrnn.models.orders import turn
from pixelrnn.pictures import Row, save_rows, to_8_bit
from pixelrnn.randomness import generator
from pixelrnn.training.evaluation import unknown_nats

SHOWN = 12


def comes_first(model: ImageModel, known: torch.Tensor) -> bool:
    """True if the known pixels come first in the model's best order."""
    flat = turn(known[None], int(model.best_order(known[None]))).flatten()
    return torch.equal(flat, flat.sort(descending=True).values)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="+", help="names or folders of models of binarized MNIST")
    parser.add_argument("--keep", choices=("top", "bottom", "left", "right"), default="bottom", help="the half to keep")
    parser.add_argument("--images", type=int, default=1000, help="number of test digits, spread over all of them")
    parser.add_argument("--out", type=Path, help="PNG file to write")
    arguments = parser.parse_args()
    x = load(DataConfig(source="binarized-mnist")).test.spread(arguments.images).pixels
    known = kept(*x.shape[2:], side=arguments.keep)
    shown = x[:: max(1, len(x) // SHOWN)][:SHOWN]
    rows = [Row(to_8_bit(shown, 2), name="original"), Row(torch.where(known, to_8_bit(shown, 2), 128), name="kept")]
    for name in arguments.models:
        model = from_pretrained(name)
        nats = unknown_nats(model, x, known, order=int(model.best_order(known[None]))).double()
        error = nats.std().item() / math.sqrt(len(nats))
        how = "the kept half comes first" if comes_first(model, known) else "the kept half does not come first"
        print(
            f"{name}: {nats.mean().item():.2f} ± {error:.2f} nats for the hidden half of {len(x):,} test digits, {how}"
        )
        rows.append(Row(to_8_bit(model.complete(shown, known, generator=generator(0)), 2), name=Path(name).name))
    if arguments.out is not None:
        save_rows(arguments.out, rows)


if __name__ == "__main__":
    main()
