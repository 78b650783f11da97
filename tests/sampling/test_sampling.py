from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pixelrnn import InputError, PixelRNN
from pixelrnn.nn import LayerKind
from pixelrnn.ops import Backend, backend
from pixelrnn.randomness import Noise
from pixelrnn.sampling import Row, complete, naive, reference, rows, sample
from tests.checks import pairwise
from tests.sampling.networks import BACKENDS, KINDS, LAYERS, Mixed, Random, model_of, parallel, randomized, seeded


@pairwise(layer=LAYERS, of=[(1, 2), (3, 4)], part_known=[0.0, 0.7])
def test_draws_the_images_of_the_naive_sampler(layer: LayerKind, of: tuple[int, int], part_known: float) -> None:
    channels, levels = of
    model = model_of(layer, channels=channels, levels=levels)
    x = torch.randint(levels, (5, channels, 5, 7), dtype=torch.uint8)
    known = torch.rand(5, 5, 7) < part_known
    known[:, 2] = part_known > 0  # a row that is known in all images, and part of one
    known[:, 3, 2:5] = part_known > 0
    expected = naive.complete(model, x, known, temperature=0.8, generator=seeded())
    for name in BACKENDS:
        with backend(name):
            assert torch.equal(model.complete(x, known, temperature=0.8, generator=seeded()), expected), name


@pytest.mark.parametrize(("channels", "levels"), [(1, 2), (3, 4)])
@pytest.mark.parametrize("features", [0, 2])
def test_any_network_draws_the_images_of_the_naive_sampler(channels: int, levels: int, features: int) -> None:
    network = randomized(Mixed(channels, levels, features))
    x = torch.randint(levels, (4, channels, 5, 6), dtype=torch.uint8)
    known = torch.rand(4, 5, 6) < 0.5
    known[:, 1] = True
    condition = torch.randn(4, features, 5, 6, dtype=torch.double) if features else None
    logits = parallel(network, levels, condition)
    completed = naive.complete(logits, x, known, temperature=0.8, generator=seeded())
    sampled = naive.complete(logits, x, known & False, generator=seeded())
    options: dict[str, Any] = {"levels": levels, "condition": condition}
    network.train()  # without the noise of its dropout
    for name in BACKENDS:
        reported: list[Row] = []
        how: dict[str, Any] = {"temperature": 0.8, "on_row": reported.append}
        with backend(name):
            got = complete(network, x, known, generator=seeded(), **how, **options)
            assert torch.equal(got, completed), name
            assert torch.equal(torch.stack([row.pixels for row in reported], dim=2), completed), name
            got = sample(network, 4, size=(5, 6), channels=channels, generator=seeded(), **options)
            assert torch.equal(got, sampled), name


@pytest.mark.parametrize("seed", range(25))
def test_random_networks_draw_the_images_of_the_naive_sampler(seed: int) -> None:
    channels, levels, features = [(1, 2, 0), (3, 3, 0), (3, 2, 2), (2, 4, 1)][seed % 4]
    network = randomized(Random(seed, channels, levels, features))
    x, known = torch.randint(levels, (2, channels, 4, 5), dtype=torch.uint8), torch.rand(2, 4, 5) < 0.4
    known[:, 1], known[:, :, 2] = True, True
    condition = torch.randn(2, features, 4, 5, dtype=torch.double) if features else None
    expected = naive.complete(parallel(network, levels, condition), x, known, generator=seeded())
    for name in BACKENDS:
        with backend(name):
            got = complete(network, x, known, levels=levels, condition=condition, generator=seeded())
        assert torch.equal(got, expected), name


@pytest.mark.parametrize("name", BACKENDS)
def test_rows_come_with_what_they_were_drawn_from(name: Backend) -> None:
    model = model_of("diagonal-bilstm", channels=3)
    x = torch.randint(4, (2, 3, 4, 5), dtype=torch.uint8)
    known = torch.rand(2, 4, 5) < 0.3
    known[:, 1, 1:4] = True
    reported: list[Row] = []
    with backend(name):
        completed = model.complete(x, known, generator=seeded(), on_row=reported.append)
    assert [row.index for row in reported] == [0, 1, 2, 3]
    assert torch.equal(torch.stack([row.pixels for row in reported], dim=2), completed)
    logits = torch.stack([row.logits for row in reported], dim=3)
    drawn = ~known.all(dim=0)
    torch.testing.assert_close(logits[..., drawn], model(completed)[..., drawn], rtol=0, atol=1e-10)
    assert logits[..., ~drawn].isnan().all()


def test_rows_are_drawn_when_they_are_asked_for() -> None:
    model = model_of("row-lstm")
    nothing = torch.zeros(2, 1, 3, 3, dtype=torch.uint8)
    drawing = rows(model, nothing, nothing[:, 0] > 0, levels=4, generator=seeded(), method="logits")
    with pytest.MonkeyPatch.context() as patch:
        drawn: list[int] = []

        def counted(self: Noise, width: int, channels: int) -> Tensor:
            drawn.append(width)
            return torch.rand(width, channels, 2, dtype=torch.double)

        patch.setattr(Noise, "row", counted)
        first = next(drawing)
    assert drawn == [3]  # only the noise of one row
    assert first.pixels.shape == (2, 1, 3)
    assert first.logits.grad_fn is None


@pytest.mark.parametrize("layer", ["row-lstm", "pixel-cnn"])
def test_the_first_images_of_more_are_the_same(layer: LayerKind) -> None:
    model = model_of(layer)
    eight = model.sample(8, height=5, width=4, generator=seeded())
    for n in (1, 4):
        assert torch.equal(model.sample(n, height=5, width=4, generator=seeded()), eight[:n])
    assert len({tuple(image.flatten().tolist()) for image in eight}) == 8


def test_noise_belongs_to_its_place() -> None:
    """Known pixels do not shift the noise of unknown ones."""
    model = model_of("row-lstm", levels=2)
    everywhere = model.sample(4, height=3, width=3, generator=seeded())
    known = torch.zeros(3, 3, dtype=torch.bool)
    known[0] = True
    assert torch.equal(model.complete(everywhere, known, generator=seeded()), everywhere)


@pytest.mark.parametrize("name", BACKENDS)
def test_rows_below_the_last_unknown_pixel_are_not_computed(name: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    model, computed = model_of("row-lstm"), list[int]()
    x = torch.randint(4, (2, 1, 5, 3), dtype=torch.uint8)
    known = torch.ones(5, 3, dtype=torch.bool)
    known[1, 2] = False
    row = KINDS[name].row

    def counting(self: Any, given: reference.RowOfImages) -> Tensor:
        computed.append(len(given.levels))
        logits: Tensor = row(self, given)
        return logits

    monkeypatch.setattr(KINDS[name], "row", counting)
    reported: list[Row] = []
    with backend(name):
        completed = model.complete(x, known, generator=seeded(), on_row=reported.append)
    assert len(computed) == 2
    assert torch.equal(completed[:, :, 2:], x[:, :, 2:])
    assert [row.index for row in reported] == [*range(5)]
    assert all(row.logits.isnan().all() and row.logits.dtype == torch.double for row in reported[2:])


def test_what_is_given_is_not_written_to() -> None:
    x = torch.zeros(1, 1, 3, 3, dtype=torch.uint8)  # moving positions outermost needs no copy
    model_of("row-lstm").complete(x, x[0, 0] > 0, generator=seeded())
    assert not x.any()


def test_no_gradient_is_kept() -> None:
    network, x = Mixed(1, 4, condition=2), torch.zeros(2, 1, 3, 3, dtype=torch.uint8)
    condition = torch.randn(2, 2, 3, 3, requires_grad=True)
    for name in BACKENDS:
        with backend(name):
            drawn = [*rows(network, x, x[:, 0] > 0, levels=4, condition=condition)]
            assert not any(row.logits.requires_grad for row in drawn)


@pytest.mark.usefixtures("as_a_user")
def test_bad_arguments_are_refused() -> None:
    network, x = Mixed(1, 4, condition=2), torch.zeros(2, 1, 3, 4, dtype=torch.uint8)
    known, given = torch.zeros(3, 4, dtype=torch.bool), torch.zeros(2, 2, 3, 4)
    arguments: Any
    for arguments, message in (
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"n": 1.5}, r"n must be a whole number, got 1\.5"),
        ({"size": (0, 4)}, "height must be at least 1, got 0"),
        ({"size": (3, "4")}, "width must be a whole number, got '4'"),
        ({"size": 3}, r"size must be \(height, width\), got 3"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"levels": 257}, "levels must be from 2 to 256, got 257"),
        ({"levels": 1}, "levels must be from 2 to 256, got 1"),
        ({"temperature": 0.0}, "temperature must be above 0 and below inf, got 0.0"),
        ({"condition": torch.zeros(2, 3, 4)}, r"condition has shape \(2, 3, 4\), expected \(2, c, 3, 4\)"),
        ({"condition": torch.zeros(1, 2, 3, 4)}, r"condition has shape \(1, 2, 3, 4\), expected \(2, c, 3, 4\)"),
        ({"condition": torch.zeros(2, 0, 3, 4)}, r"condition has shape \(2, 0, 3, 4\), expected \(2, c, 3, 4\)"),
        ({"condition": given.to("meta")}, "condition is on meta, expected cpu, the device of the network"),
        ({"condition": torch.zeros(2, 3, 3, 4)}, "row: a map has 3 features, expected 2"),
        ({"channels": 3}, "first: a map has 3 features, expected 1"),
    ):
        with pytest.raises(InputError, match=message):
            sample(network, **{"n": 2, "size": (3, 4), "levels": 4, "condition": given, **arguments})
    for arguments, message in (
        ((x[0], known), r"images are a uint8 tensor \(1, 3, 4\), expected uint8 \(B, C, H, W\)"),
        ((x.float(), known), "images are a float32 tensor"),
        ((x[:0], known), r"images are a uint8 tensor \(0, 1, 3, 4\)"),
        ((x + 9, ~known), "images have a level 9, expected 0 to 3"),
        ((x, known.T), r"known is a bool tensor \(4, 3\), expected bool \(3, 4\) or \(2, 3, 4\)"),
        ((x, x[:, 0]), "known is a uint8 tensor"),
        ((x.to("meta"), known), "x is on meta, expected cpu, the device of the network"),
    ):
        with pytest.raises(InputError, match=message):
            complete(network, *arguments, levels=4, condition=given)
    with pytest.raises(InputError, match=r"network is a Sequential, expected an nn\.Module with weights"):
        sample(nn.Sequential(), 1, size=(2, 2))
    function: Any = abs
    with pytest.raises(InputError, match=r"network is a builtin_function_or_method, expected an nn\.Module"):
        sample(function, 1, size=(2, 2))
    given = torch.zeros(1, 1, 2, 2)
    with pytest.raises(InputError, match="the network has no layers with weights"):
        sample(Mixed(1, 2, 2), 1, size=(2, 2), levels=2, condition=given, method="nothing")
    model = PixelRNN(levels=2, hidden=2)
    with pytest.raises(
        InputError, match="PixelRNN cannot be traced: AttributeError: 'PixelRNN' object has no attribute 'logit'"
    ):
        complete(model, x, known, levels=2, method="logit")
