"""Scores the average of several models: each sub-pixel's probability is the mean of theirs.

    python benchmarks/average.py mnist-diagonal-7x32 mnist-diagonal-7x16 --split valid --split test

The average is an exact density too, because each conditional distribution is one:

    log p(x) = Σ_i log (1/M · Σ_m p_m(x_i | x_<i))        for M models, all in raster order
"""

import argparse
import math
from collections.abc import Sequence

import torch

from pixelrnn.data import DataConfig, load
from pixelrnn.models import ImageModel, from_pretrained
from pixelrnn.progress import track


def log_prob(models: Sequence[ImageModel], x: torch.Tensor) -> torch.Tensor:
    """log p(x) of each image under the average, in nats."""
    each = torch.stack([model.log_prob_map(x) for model in models])
    return (each.logsumexp(dim=0) - math.log(len(models))).sum(dim=(1, 2, 3))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="+", help="names or folders of models of binarized MNIST")
    parser.add_argument(
        "--split", choices=("valid", "test"), action="append", help="a split to score: valid by default"
    )
    arguments = parser.parse_args()
    data, models = load(DataConfig(source="binarized-mnist")), [from_pretrained(name) for name in arguments.models]
    for split in arguments.split or ["valid"]:
        x = data.splits[split].pixels
        nats = torch.cat([-log_prob(models, part) for part in track(x.split(50), split)]).double().mean().item()
        print(f"average of {', '.join(arguments.models)} | {split}, {len(x):,} images | {nats:.3f} nats/image")


if __name__ == "__main__":
    main()
