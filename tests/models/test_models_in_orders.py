import itertools
import math
import re
from typing import Any

import pytest
import torch

from pixelrnn import InputError, MultiScalePixelRNN, PixelRNN
from pixelrnn.likelihood import log_prob_map
from pixelrnn.models import ImageModel
from pixelrnn.models.orders import turn, turn_back
from pixelrnn.nn import LayerKind
from pixelrnn.sampling import Row, naive
from tests.checks import pairwise, reach, sub_pixel_order

LAYERS: list[LayerKind] = ["diagonal-bilstm", "row-lstm", "pixel-cnn"]


def model_of(**options: Any) -> Any:
    kind: Any = MultiScalePixelRNN if "factors" in options else PixelRNN
    model = kind(**{"orders": 8, "levels": 2, "hidden": 3, **options}).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def every_image(channels: int, height: int, width: int) -> torch.Tensor:
    values = torch.tensor(list(itertools.product([0, 1], repeat=channels * height * width)), dtype=torch.uint8)
    return values.reshape(-1, channels, height, width)


KINDS: list[dict[str, Any]] = [{"layer": layer} for layer in LAYERS] + [{"factors": (2,)}]


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("shape", [(1, 2, 3), (1, 3, 3), (3, 2, 1)])
def test_the_density_of_each_order_and_the_mixture_sum_to_one(
    options: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    model, images = model_of(channels=shape[0], **options), every_image(*shape)
    each = [model.log_prob(images, order=k) for k in range(8)]
    for log_p in each:
        assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-9)
    assert all(not torch.allclose(each[0], other) for other in each[1:])
    mixture = model.log_prob(images, order="mixture")
    torch.testing.assert_close(mixture, torch.stack(each).exp().mean(dim=0).log())
    assert mixture.exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_raster_order_is_the_default_and_the_only_one_of_other_models() -> None:
    x = torch.randint(2, (4, 1, 3, 3), dtype=torch.uint8)
    model, plain = model_of(), model_of(orders=1)
    assert torch.equal(model.log_prob(x), model.log_prob(x, order=0))
    torch.testing.assert_close(plain.log_prob(x, order="mixture"), plain.log_prob(x))
    with pytest.raises(InputError, match="order must be from 0 to 0, got 1"):
        plain.log_prob(x, order=1)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("order", range(8))
def test_the_jacobian_of_each_order_is_causal_in_that_order(layer: LayerKind, channels: int, order: int) -> None:
    model = model_of(layer=layer, channels=channels, hidden=6)

    def network(x: torch.Tensor) -> torch.Tensor:
        turned = turn(x, order)
        return turn_back(model.logits(turned, model.condition_map(turned, order=order)), order)[:, 0]

    reached = reach(network, torch.randn(1, channels, 2, 3, dtype=torch.double))
    visited = turn(torch.arange(6).reshape(1, 2, 3), order).flatten()
    in_order = reached.flatten(1, 2)[:, visited].unflatten(1, (1, 6)).flatten(4, 5)[..., visited].unflatten(4, (1, 6))
    assert not sub_pixel_order(in_order).triu().any()
    assert sub_pixel_order(in_order).any()


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("order", range(8))
def test_a_sub_pixel_changes_only_later_logits_of_the_order(options: dict[str, Any], order: int) -> None:
    model = model_of(channels=3, **options)
    x = torch.randint(2, (1, 3, 4, 3), dtype=torch.uint8)
    size = turn(x, order).shape[2:]
    # Raster order visits the pixels of a single scale; in a Multi-Scale model, those of the small image come first.
    when = torch.arange(size[0] * size[1]).reshape(1, 1, *size)
    if "factors" in options:
        when[:, :, ::2, ::2] -= 100
    when = turn_back(3 * when + torch.arange(3)[None, :, None, None], order)[0]
    places = [*itertools.product(range(3), range(4), range(3))]
    images = x.repeat(1 + len(places), 1, 1, 1)  # the first one stays as it is
    for image, place in zip(images[1:], places, strict=True):
        image[place] ^= 1
    base, *logits = model(images, order=order)[:, 0]
    for changed, place in zip(logits, places, strict=True):
        assert not (changed != base)[when <= when[place]].any()
    assert any((changed != base).any() for changed in logits)


@pairwise(options=[*KINDS, {"classes": ["a", "b"]}], order=[*range(8), torch.tensor([6, 1, 0])], levels=[2, 3])
def test_samples_and_their_logits_are_those_of_the_network(
    options: dict[str, Any], order: int | torch.Tensor, levels: int
) -> None:
    model = model_of(channels=2, levels=levels, **options)
    size, rows = ((3, 3), list[Row]()) if isinstance(order, torch.Tensor) else ((4, 3), list[Row]())
    given: dict[str, Any] = {"labels": torch.tensor([1, 0, 1])} if "classes" in options else {}

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(5)

    x = model.sample(3, height=size[0], width=size[1], order=order, generator=seeded(), on_row=rows.append, **given)
    assert x.shape == (3, 2, *size)
    logits = torch.stack([row.logits for row in rows], dim=3)
    expected = turn(model(x, order=order, **given), order)
    drawn = ~logits.isnan()
    torch.testing.assert_close(logits[drawn], expected[drawn], rtol=0, atol=1e-10)
    if "factors" not in options:
        assert drawn.all()
        blank = torch.zeros_like(turn(x, order))
        slow = naive.complete(
            lambda part: model._logits(part, order=order, **given), blank, blank[:, 0] > 0, generator=seeded()
        )
        assert torch.equal(turn(x, order), slow)


def test_each_image_may_have_its_own_order() -> None:
    model, x = model_of(classes=["a", "b"]), torch.randint(2, (8, 1, 3, 3), dtype=torch.uint8)
    labels = torch.arange(8) % 2
    together = model.log_prob_map(x, order=torch.arange(8), labels=labels)
    for k in range(8):
        alone = model.log_prob_map(x[k : k + 1], order=k, labels=labels[k : k + 1])
        torch.testing.assert_close(together[k : k + 1], alone)


def test_a_map_that_conditions_the_density_turns_with_the_image() -> None:
    model = model_of(condition=2)
    x, condition = torch.randint(2, (1, 1, 3, 2), dtype=torch.uint8), torch.randn(1, 2, 3, 2, dtype=torch.double)
    for k in range(8):
        turned = turn(x, k)
        network = model._logits(turned, condition=turn(condition, k), order=k)
        torch.testing.assert_close(model(x, condition=condition, order=k), turn_back(network, k))
        log_p = model.log_prob(x, condition=condition, order=k)
        torch.testing.assert_close(log_p, log_prob_map(network, turned).sum(dim=(1, 2, 3)))
    drawn = model.complete(x, x[:, 0] >= 0, condition=condition, order=5)
    assert torch.equal(drawn, x)


def test_a_class_is_scored_in_the_order() -> None:
    model, x = model_of(classes=["a", "b"]), torch.randint(2, (4, 1, 2, 3), dtype=torch.uint8)
    for order in (0, 5, "mixture"):
        by_class = model.log_prob_by_class(x, order=order)
        for k in range(2):
            alone = model.log_prob(x, labels=torch.full((4,), k), order=order)
            torch.testing.assert_close(by_class[:, k], alone)


@pytest.mark.parametrize("known", [[[0, 0], [1, 1]], [[0, 1], [0, 1]], [[0, 1], [1, 1]]])
def test_a_completion_follows_the_density_given_what_is_known(known: list[list[int]]) -> None:
    """From any side: in the best order, the known pixels come first."""
    model, mask, n = model_of(layer="pixel-cnn"), torch.tensor(known, dtype=torch.bool), 10_000
    x = torch.tensor([[1, 0], [0, 1]], dtype=torch.uint8)
    order = int(model.best_order(mask[None]))
    images = every_image(1, 2, 2)
    fits = images[((images[:, 0] == x) | ~mask).all(dim=(1, 2))]
    log_p = model.log_prob(fits, order=order)
    with torch.no_grad():
        drawn = model.complete(x.expand(n, 1, 2, 2), mask, generator=torch.Generator().manual_seed(0))
    for image, p in zip(fits, (log_p - log_p.logsumexp(0)).exp().tolist(), strict=True):
        part = (drawn == image).all(dim=(1, 2, 3)).double().mean().item()
        assert part == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n))


@pytest.mark.parametrize("options", [{}, {"factors": (2,)}])
def test_each_mask_gets_its_best_order(options: dict[str, Any]) -> None:
    model: ImageModel = model_of(**options)
    x, known = torch.randint(2, (3, 1, 4, 4), dtype=torch.uint8), torch.ones(3, 4, 4, dtype=torch.bool)
    known[0, 2:], known[1, :, 2:], known[2, :1] = False, False, False
    generator = torch.Generator().manual_seed(1)
    completed = model.complete(x, known, generator=generator)
    asked = model.complete(x, known, order=torch.tensor([0, 4, 1]), generator=generator.manual_seed(1))
    assert torch.equal(completed, asked)
    assert torch.equal(completed[:, 0][known], x[:, 0][known])
    raster = model_of(**options, orders=1)
    drawn = [raster.complete(x, known, generator=generator.manual_seed(1), **order) for order in ({}, {"order": 0})]
    assert torch.equal(*drawn)


@pytest.mark.parametrize("factors", [(2,), (3,), (2, 2)])
def test_the_best_order_of_a_multi_scale_model_counts_the_pixels_as_they_are_drawn(factors: tuple[int, ...]) -> None:
    model = model_of(factors=factors)
    positions = torch.arange(42).reshape(1, 1, 7, 6)
    scales = [image.flatten().tolist() for image in model._images(positions)]
    drawn = dict.fromkeys(position for scale in scales for position in scale)  # each when it first appears
    assert model._sequence(7, 6).tolist() == [*drawn]
    assert torch.equal(model._sequence(7, 6).sort().values, torch.arange(42))


def test_a_multi_scale_model_completes_in_the_order_that_is_best_for_its_scales() -> None:
    known = torch.ones(1, 28, 28, dtype=torch.bool)
    known[0, 9, 9] = False
    # With factor 2, this pixel belongs to the small image of an order only if both its coordinates are even there.
    assert int(model_of(factors=(2,)).best_order(known)) == 3
    assert int(model_of().best_order(known)) == 1


@pytest.mark.parametrize("order", [0, 1, 6])
def test_the_terms_of_the_scales_add_up_in_every_order(order: int) -> None:
    model, x = model_of(factors=(2, 2)), torch.randint(2, (3, 1, 5, 6), dtype=torch.uint8)
    scales = [model.log_prob_map_of_scale(x, k, order=order).sum(dim=(1, 2, 3)) for k in range(3)]
    torch.testing.assert_close(torch.stack(scales).sum(dim=0), model.log_prob(x, order=order))


@pytest.mark.usefixtures("as_a_user")
def test_bad_orders_are_refused() -> None:
    wrong: Any
    for wrong in (3, 0, True, "8", None):
        with pytest.raises(InputError, match="orders must be one of 1, 2, 4, 8, got"):
            PixelRNN(orders=wrong)
    model, x = model_of(orders=4), torch.zeros(2, 1, 3, 2, dtype=torch.uint8)
    anything: Any = "raster"
    with pytest.raises(
        InputError, match="order must be a whole number, one for each image, or 'mixture', got 'raster'"
    ):
        model.log_prob(x, order=anything)
    for call in (model, model.log_prob, model.log_prob_map):
        with pytest.raises(InputError, match="order must be from 0 to 3, got 4"):
            call(x, order=4)
    with pytest.raises(InputError, match="order must be from 0 to 3, got 4"):
        model.sample(1, height=2, width=2, order=4)
    with pytest.raises(
        InputError, match=r"order: int64 tensor \(1,\), expected a whole number, or whole numbers \(2,\)"
    ):
        model.complete(x, x[:, 0] > 0, order=torch.tensor([1]))
    with pytest.raises(InputError, match="the images are not square"):
        model_of().log_prob(x, order=torch.tensor([0, 4]))
    with pytest.raises(InputError, match=r"known is a bool tensor \(2, 1, 2\), expected bool"):
        model.complete(x, x[:, :, :2, 0] > 0)
    with pytest.raises(InputError, match="known is on meta, expected cpu, the device of the images"):
        model.complete(x, (x[:, 0] > 0).to("meta"))


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("order", [0, 1, 5, torch.tensor([3, 0])])
@pytest.mark.parametrize("shape", [(2,), (2, 2, 3), (1, 2, 3, 3), (2, 2, 3, 4)])
def test_bad_maps_are_refused_in_every_order(order: int | torch.Tensor, shape: tuple[int, ...]) -> None:
    model, x = model_of(condition=2), torch.zeros(2, 1, 3, 3, dtype=torch.uint8)
    message = rf"the condition is {re.escape(str(shape))}, expected \(2, c, 3, 3\)"
    for call in (model, model.log_prob, lambda x, **given: model.complete(x, x[:, 0] > 0, **given)):
        with pytest.raises(InputError, match=message):
            call(x, condition=torch.zeros(shape), order=order)
