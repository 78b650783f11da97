"""Two simple densities on the embedded digits, which a PixelRNN must beat.

    python benchmarks/digits_baselines.py

Histogram: each pixel has its own distribution over the 17 levels, independent of the others. Markov: one distribution
of a pixel given the previous pixel and the one above, the same at every place. Both count levels in the training
images. The validation images choose the pseudo-count that is added to every level.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pixelrnn.data import Data, DataConfig, load
from pixelrnn.training.evaluation import Score

PSEUDO_COUNTS = [10 ** (k / 4) for k in range(-12, 9)]

Contexts = Callable[[Tensor, int], Tensor]


def histogram(x: Tensor, levels: int) -> Tensor:
    """The context of each pixel is its place: (N, 1, H, W) to (N, H·W)."""
    n, _, height, width = x.shape
    return torch.arange(height * width).expand(n, -1)


def markov(x: Tensor, levels: int) -> Tensor:
    """The context is the previous pixel and the one above; outside the image is an extra level. Returns (N, H·W)."""
    padded = torch.nn.functional.pad(x.long(), (1, 0, 1, 0), value=levels)
    left, above = padded[:, 0, 1:, :-1], padded[:, 0, :-1, 1:]
    return (left * (levels + 1) + above).flatten(1)


def counts(contexts: Contexts, x: Tensor, levels: int) -> Tensor:
    """The number of times that each level occurs in each context: (contexts, levels)."""
    seen = contexts(x, levels).flatten()
    table = torch.zeros(max(x[0].numel(), (levels + 1) ** 2), levels, dtype=torch.float64)
    return table.index_put_((seen, x.long().flatten()), torch.ones(len(seen), dtype=torch.float64), accumulate=True)


def nats(contexts: Contexts, table: Tensor, x: Tensor) -> Tensor:
    """−log p(x) of each image, in nats, from positive counts."""
    log_p = (table / table.sum(dim=1, keepdim=True)).log()
    return -log_p[contexts(x, table.shape[1]), x.long().flatten(1)].sum(dim=1)


def main() -> None:
    data: Data = load(DataConfig())
    for contexts in (histogram, markov):
        table = counts(contexts, data.train.pixels, data.levels)
        by_pseudo_count = {a: nats(contexts, table + a, data.valid.pixels).mean().item() for a in PSEUDO_COUNTS}
        best = min(by_pseudo_count, key=by_pseudo_count.__getitem__)
        valid = Score(data.protocol, "valid", data.valid.names, nats(contexts, table + best, data.valid.pixels), 64)
        test = Score(data.protocol, "test", data.test.names, nats(contexts, table + best, data.test.pixels), 64)
        print(f"{contexts.__name__} | {valid}\n{contexts.__name__} | {test}")


if __name__ == "__main__":
    main()
