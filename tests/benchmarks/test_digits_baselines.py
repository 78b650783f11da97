import math

import pytest
import torch
from benchmarks.digits_baselines import counts, histogram, markov, nats


def test_the_contexts() -> None:
    x = torch.tensor([[1, 2], [0, 1]], dtype=torch.uint8).reshape(1, 1, 2, 2)
    assert histogram(x, 3).tolist() == [[0, 1, 2, 3]]
    outside = 3  # left · 4 + above
    assert markov(x, 3).tolist() == [[outside * 4 + outside, 1 * 4 + outside, outside * 4 + 1, 0 * 4 + 2]]


@pytest.mark.parametrize("contexts", [histogram, markov])
def test_they_are_densities(contexts: object) -> None:
    assert callable(contexts)
    x = torch.randint(2, (9, 1, 2, 2), dtype=torch.uint8)
    every = torch.tensor([[a, b, c, d] for a in (0, 1) for b in (0, 1) for c in (0, 1) for d in (0, 1)])
    p = (-nats(contexts, counts(contexts, x, 2) + 0.5, every.to(torch.uint8).reshape(-1, 1, 2, 2))).exp()
    assert p.sum().item() == pytest.approx(1)


def test_counting() -> None:
    x = torch.tensor([0, 1, 1, 1], dtype=torch.uint8).reshape(4, 1, 1, 1)
    assert counts(histogram, x, 2)[0].tolist() == [1, 3]
    assert nats(histogram, counts(histogram, x, 2), x)[1].item() == pytest.approx(-math.log(0.75))
