"""Each feature of a position is computed once, at the stage at which the channels that it sees are known."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pixelrnn import PixelRNN
from pixelrnn.nn import LayerKind, MaskedConv2d
from pixelrnn.ops import Backend, backend
from pixelrnn.sampling import complete, naive, reference
from pixelrnn.sampling.program import Stages
from tests.checks import pairwise
from tests.sampling.networks import (
    BACKENDS,
    LAYERS,
    Mixed,
    Network,
    Random,
    parallel,
    partly_closed,
    randomized,
    rows,
    seeded,
    traced,
)


def test_features_are_sorted_by_the_last_channel_that_they_see() -> None:
    network: Any = Network(
        lambda own, x, given: own.last(own.first(x) + own.given(given)).unflatten(1, (3, 3)),
        first=MaskedConv2d("A", 3, 7, 3, channels=3),
        given=nn.Conv2d(2, 7, 1),
        last=MaskedConv2d("B", 7, 9, 1, channels=3),
    )
    network.last.mask[4] = 0  # level 1 of channel 1 sees nothing, but it is still a logit of channel 1
    image, condition, first, total, last = traced(network, channels=3, levels=3, condition=2).stages
    assert (image.order.tolist(), image.known) == ([0, 1, 2], [0, 1, 2, 3])
    assert (condition.order.tolist(), condition.known) == ([0, 1], [2, 2, 2, 2])
    for stages in (first, total):
        assert (stages.order.tolist(), stages.known) == ([0, 3, 6, 1, 4, 2, 5], [3, 5, 7, 7])
    assert (last.order.tolist(), last.known) == ([0, 3, 6, 1, 4, 7, 2, 5, 8], [3, 6, 9, 9])
    assert [first.block(stage) for stage in range(4)] == [slice(0, 3), slice(3, 5), slice(5, 7), slice(0, 7)]
    in_order = Stages(np.arange(7), [7, 7, 7, 7])
    assert in_order.places(first).tolist() == first.order.tolist()
    assert first.places(in_order).tolist() == [0, 3, 5, 1, 4, 6, 2]


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_every_feature_of_every_position_is_computed_once(
    channels: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Mixed(channels, 4) if seed % 2 and channels != 2 else Random(seed, channels, 4, 0)
    network = partly_closed(randomized(made), seed)
    x, wanted = torch.randint(4, (2, channels, 5, 6), dtype=torch.uint8), torch.rand(5, 6) < 0.6
    forget = reference.Map.next_row

    def poisoned(self: reference.Map) -> None:
        forget(self)
        self.at(range(self.width)).fill_(torch.nan)

    def watched(compute: Any) -> Any:
        def watching(self: Any, columns: range, stage: int) -> None:
            computed = self.to.at(columns)[..., self.to.stages.block(stage)]
            assert computed.isnan().all()
            compute(self, columns, stage)
            assert computed.isfinite().all()

        return watching

    monkeypatch.setattr(reference.Map, "next_row", poisoned)
    for kind in (reference.PointStep, reference.ConvolutionStep, reference.LineLSTMStep):
        monkeypatch.setattr(kind, "compute", watched(kind.compute))
    row = reference.Network.row

    def complete_row(self: reference.Network, given: reference.RowOfImages) -> Tensor:
        logits = row(self, given)
        assert all(each.at(range(6))[given.wanted].isfinite().all() for each in self.maps)
        return logits

    monkeypatch.setattr(reference.Network, "row", complete_row)
    with backend("reference"), torch.no_grad():
        logits, expected = rows(network, x, 4, wanted=wanted), parallel(network, 4)(x)
    torch.testing.assert_close(logits[..., wanted], expected[..., wanted], rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", range(24))
def test_networks_whose_features_see_any_channels(seed: int) -> None:
    channels, levels, features = [(2, 4, 0), (3, 3, 2), (3, 2, 0), (4, 3, 2), (5, 2, 1), (3, 256, 2)][seed % 6]
    batch = [1, 2, 3, 13][seed % 4]
    made = Mixed(channels, levels, features) if channels < 4 and seed % 2 else Random(seed, channels, levels, features)
    network = partly_closed(randomized(made), seed)
    x, known = torch.randint(levels, (batch, channels, 4, 6), dtype=torch.uint8), torch.rand(batch, 4, 6) < 0.4
    known[:, 1], known[:, :, 2:4] = True, True
    condition = torch.randn(batch, features, 4, 6, dtype=torch.double) if features else None
    expected = naive.complete(parallel(network, levels, condition), x, known, generator=seeded())
    for name in BACKENDS:
        with backend(name):
            got = complete(network, x, known, levels=levels, condition=condition, generator=seeded())
        assert torch.equal(got, expected), name


@pairwise(layer=LAYERS, dtype=[torch.float32, torch.float64], hidden=[3, 7, 32, 50])
def test_both_backends_compute_the_same_logits(layer: LayerKind, dtype: torch.dtype, hidden: int) -> None:
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    model = PixelRNN(layer=layer, channels=3, levels=5, hidden=hidden, condition=2).to(dtype)
    x, wanted = torch.randint(5, (3, 3, 4, 6), dtype=torch.uint8), torch.rand(4, 6) < 0.6
    condition, found = torch.randn(3, 2, 4, 6, dtype=dtype), []
    for name in BACKENDS:
        with backend(name):
            found.append(rows(model, x, 5, condition=condition, wanted=wanted)[..., wanted])
    torch.testing.assert_close(*found, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", BACKENDS)
def test_infinite_features_of_earlier_positions_are_not_read(name: Backend) -> None:
    """The features of channel 2 in the first map are −∞ where R and G have level 1. The ReLU makes them zero."""
    # So many features that the stages of the C++, which writes whole vectors, do not overwrite each other's.
    features = 120

    def network(largest: float) -> Network:
        made: Any = randomized(
            Network(
                lambda own, x: own.last(own.second(own.first(x)).relu()).unflatten(1, (1, 3)),
                first=MaskedConv2d("A", 3, features, 3, channels=3),
                second=MaskedConv2d("B", features, 3, 1, channels=3),
                last=MaskedConv2d("B", 3, 3, 3, channels=3),
            )
        )
        with torch.no_grad():
            made.first.weight[2::3], made.first.bias[2::3] = 0, -largest
            made.first.weight[2::3, :2, 1, 1] = -largest / 2
            made.second.weight[2], made.second.weight[2, 2::3] = 0, 1
        return made

    torch.manual_seed(0)
    infinite = network(1e308)
    torch.manual_seed(0)
    finite = network(1e100)
    x = torch.randint(2, (3, 3, 6, 5), dtype=torch.uint8)
    with backend(name):
        assert torch.equal(rows(infinite, x, 2), rows(finite, x, 2))
