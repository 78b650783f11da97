"""Samples and completions of a PixelRNN."""

import itertools
import math
from typing import Any

import pytest
import torch

from pixelrnn import InputError, PixelRNN
from pixelrnn.nn import LayerKind
from pixelrnn.ops import backend
from pixelrnn.sampling import Row

LAYERS: list[LayerKind] = ["diagonal-bilstm", "row-lstm", "pixel-cnn"]


@pytest.mark.parametrize("layer", LAYERS)
def test_samples_are_of_the_size_and_levels_and_can_be_drawn_again(layer: LayerKind) -> None:
    model = PixelRNN(layer=layer, channels=3, levels=4, hidden=3, size=(2, 3))
    first = model.sample(5, generator=torch.Generator().manual_seed(1))
    assert first.shape == (5, 3, 2, 3)
    assert first.dtype == torch.uint8
    assert first.max() < 4
    assert torch.equal(first, model.sample(5, generator=torch.Generator().manual_seed(1)))
    assert not torch.equal(first, model.sample(5, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(first, model.sample(5, seed=1))
    known = torch.zeros(2, 3, dtype=torch.bool)
    assert torch.equal(first, model.complete(first, known, seed=1))
    assert not torch.equal(first, model.complete(first, known, seed=2))
    assert model.sample(1, height=1, width=4).shape == (1, 3, 1, 4)
    rows: list[Row] = []
    with backend("manual"):
        model.sample(1, on_row=rows.append)
    assert [row.logits.requires_grad for row in rows] == [False, False]


def test_bad_seeds_are_refused() -> None:
    model = PixelRNN(levels=2, hidden=1, size=(1, 1))
    for seed in (-1, 2**32):
        with pytest.raises(InputError, match="seed must be"):
            model.sample(1, seed=seed)
    with pytest.raises(InputError, match="both a seed and a generator are given: pass only one"):
        model.sample(1, seed=0, generator=torch.Generator())


@pytest.mark.parametrize("layer", LAYERS)
def test_samples_follow_the_model(layer: LayerKind) -> None:
    model = PixelRNN(layer=layer, levels=2, hidden=3).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    images = torch.tensor(list(itertools.product([0, 1], repeat=6)), dtype=torch.uint8).reshape(-1, 1, 2, 3)
    n = 200_000
    expected = model.log_prob(images).exp() * n
    samples = model.sample(n, height=2, width=3, generator=torch.Generator().manual_seed(0)).reshape(n, 6)
    observed = torch.bincount((samples.long() * 2 ** torch.arange(5, -1, -1)).sum(dim=1), minlength=64)
    chi_square = ((observed - expected) ** 2 / expected).sum()
    assert chi_square < 103.4  # the 99.9th percentile for 63 degrees of freedom


def test_a_low_temperature_takes_the_likeliest_level() -> None:
    model = PixelRNN(levels=4, hidden=3)
    x = model.sample(3, height=3, width=3, temperature=1e-4)
    assert torch.equal(model(x).argmax(dim=1), x)


def test_completion_keeps_what_is_known_and_ignores_what_is_not() -> None:
    model = PixelRNN(channels=3, levels=4, hidden=3)
    x = torch.randint(4, (4, 3, 3, 3), dtype=torch.uint8)
    scattered = torch.rand(4, 3, 3) < 0.5
    completed = model.complete(x, scattered, generator=torch.Generator().manual_seed(0))
    kept = scattered[:, None].expand_as(x)
    assert torch.equal(completed[kept], x[kept])
    assert not torch.equal(completed, x)

    other = torch.where(kept, x, 255)  # an invalid level at an unknown pixel
    again = model.complete(other, scattered, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again, completed)
    everything = torch.ones(3, 3, dtype=torch.bool)
    assert torch.equal(model.complete(x, everything), x)


def test_completion_of_a_known_beginning_follows_the_conditional() -> None:
    model = PixelRNN(levels=2, hidden=3).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    known = torch.tensor([[True, True], [False, False]])
    ends = torch.tensor(list(itertools.product([0, 1], repeat=2)), dtype=torch.uint8)
    images = torch.cat([torch.tensor([[1, 0]], dtype=torch.uint8).expand(4, 2), ends], dim=1).reshape(4, 1, 2, 2)
    expected = model.log_prob(images).softmax(dim=0)
    n = 20_000
    drawn = model.complete(images[:1].expand(n, 1, 2, 2), known, generator=torch.Generator().manual_seed(0))
    observed = torch.bincount(drawn[:, 0, 1, 0].long() * 2 + drawn[:, 0, 1, 1].long(), minlength=4)
    chi_square = ((observed - expected * n) ** 2 / (expected * n)).sum()
    assert chi_square < 16.3  # the 99.9th percentile for 3 degrees of freedom


@pytest.mark.usefixtures("as_a_user")
def test_bad_sampling_is_refused() -> None:
    model = PixelRNN(levels=4, hidden=2)
    x, known = torch.zeros(2, 1, 3, 4, dtype=torch.uint8), torch.ones(3, 4, dtype=torch.bool)
    with pytest.raises(InputError, match="no size of its own"):
        model.sample(1)
    with pytest.raises(InputError, match="n must be at least 1, got 0"):
        model.sample(0, height=2, width=2)
    with pytest.raises(InputError, match="width must be at least 1, got 0"):
        model.sample(1, height=2, width=0)
    whole: Any = 1.5
    with pytest.raises(InputError, match=r"n must be a whole number, got 1\.5"):
        model.sample(whole, height=2, width=2)
    for temperature in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="temperature must be above 0 and below inf"):
            model.sample(1, height=2, width=2, temperature=temperature)
    with pytest.raises(InputError, match=r"bool tensor \(4, 3\), expected bool \(3, 4\) or \(2, 3, 4\)"):
        model.complete(x, known.T)
    with pytest.raises(InputError, match="uint8 tensor"):
        model.complete(x, known.to(torch.uint8))
    with pytest.raises(InputError, match="a level 9, expected 0 to 3"):
        model.complete(x + 9, known)
