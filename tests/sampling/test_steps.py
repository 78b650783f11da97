"""The generator of steps: the caller chooses each level."""

from typing import Any

import pytest
import torch

from pixelrnn import InputError, MultiScalePixelRNN, PixelRNN
from pixelrnn.models.orders import turn
from pixelrnn.ops import Backend, backend
from pixelrnn.sampling import Step, steps
from tests.sampling.networks import BACKENDS, randomized


def followed(generator: Any, levels: torch.Tensor | None) -> tuple[list[Step], torch.Tensor]:
    """Goes through all steps and sets these levels, or the given ones. Returns the steps and the completed images."""
    found: list[Step] = []
    try:
        while True:
            found.append(step := next(generator))
            step.set(step.given if levels is None else levels[:, step.channel, step.row, step.column])
    except StopIteration as end:
        return found, end.value


def model_of(**options: Any) -> PixelRNN:
    model: PixelRNN = randomized(PixelRNN(**{"levels": 4, "hidden": 3, **options})).double()
    return model


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("layer", ["diagonal-bilstm", "row-lstm", "pixel-cnn"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("levels", [2, 4])
def test_the_logits_are_those_of_the_network(name: Backend, layer: Any, channels: int, levels: int) -> None:
    model = model_of(layer=layer, channels=channels, levels=levels)
    x = torch.randint(levels, (3, channels, 4, 5), dtype=torch.uint8)
    known = torch.rand(3, 4, 5) < 0.5
    known[:, 2, 1:3] = True
    with backend(name):
        found, completed = followed(model.steps(x.masked_fill(~known[:, None], 0), known), x)
    assert torch.equal(completed, x)
    places = [(i, j, c) for i in range(4) for j in range(5) if not known[:, i, j].all() for c in range(channels)]
    assert [(step.row, step.column, step.channel) for step in found] == places
    logits = model(x)
    for step in found:
        expected = logits[:, :, step.channel, step.row, step.column]
        torch.testing.assert_close(step.logits, expected, rtol=0, atol=1e-10)


def test_the_given_levels_are_those_of_x_and_are_not_read() -> None:
    model = model_of()
    x = torch.randint(4, (2, 1, 3, 3), dtype=torch.uint8)
    unknown = torch.zeros(3, 3, dtype=torch.bool)
    for step, other in zip(model.steps(x, unknown), model.steps(3 - x, unknown), strict=True):
        given = x[:, 0, step.row, step.column]
        assert torch.equal(step.given, given)
        assert torch.equal(other.given, 3 - given)
        assert torch.equal(step.logits, other.logits)
        step.set(given)
        other.set(given)
    with pytest.raises(InputError, match="the step is over"):
        assert step.given


@pytest.mark.parametrize("order", [0, 1, 6, torch.tensor([7, 0])])
def test_the_steps_of_an_order_are_those_of_the_turned_images(order: int | torch.Tensor) -> None:
    model, x = model_of(orders=8), torch.randint(4, (2, 1, 4, 4), dtype=torch.uint8)
    found, completed = followed(model.steps(x, x[:, 0] > 3, order=order), turn(x, order))
    assert torch.equal(completed, x)
    logits = turn(model(x, order=order), order)
    for step in found:
        torch.testing.assert_close(step.logits, logits[:, :, 0, step.row, step.column], rtol=0, atol=1e-10)


def test_a_multi_scale_model_steps_through_its_scales() -> None:
    model: MultiScalePixelRNN = randomized(MultiScalePixelRNN(factors=(2,), levels=4, hidden=3)).double()
    x = torch.randint(4, (2, 1, 4, 6), dtype=torch.uint8)
    found, completed = followed(model.steps(x, x[:, 0] > 3), None)
    assert torch.equal(completed, x)
    assert len(found) == 24
    logits = model(x)
    for step in found[:6]:
        torch.testing.assert_close(step.logits, logits[:, :, 0, 2 * step.row, 2 * step.column], rtol=0, atol=1e-10)
    for step in found[6:]:
        torch.testing.assert_close(step.logits, logits[:, :, 0, step.row, step.column], rtol=0, atol=1e-10)


def test_steps_draw_no_random_numbers() -> None:
    model, x = model_of(), torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    before = torch.get_rng_state()
    followed(model.steps(x, x[:, 0] > 0), x)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("as_a_user")
def test_bad_choices_are_refused() -> None:
    model, x = model_of(), torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    generator = steps(model, x, x[:, 0] > 0, levels=4, method="logits")
    step = next(generator)
    for wrong in (torch.zeros(1, dtype=torch.long), torch.zeros(2), torch.zeros(2, 1, dtype=torch.long)):
        with pytest.raises(InputError, match=r"levels: .* tensor \(.*\), expected whole numbers \(2,\)"):
            step.set(wrong)
    with pytest.raises(InputError, match=r"row 0, column 0, channel 0 has no levels: call set\(\) before"):
        next(generator)
    generator = steps(model, x, x[:, 0] > 0, levels=4, method="logits")
    step = next(generator)
    for level in (4, -1, 256):
        with pytest.raises(InputError, match=f"the step was set to {level}, expected 0 to 3"):
            step.set(torch.tensor([0, level]))
    anything: Any
    for anything in ([0, 0], torch.tensor([True, False]), torch.zeros(2, dtype=torch.complex64)):
        with pytest.raises(InputError, match=r"levels: .*, expected whole numbers \(2,\)"):
            step.set(anything)
    step.set(torch.tensor([0, 3]))
    next(generator)
    with pytest.raises(InputError, match="the step is over"):
        step.set(torch.tensor([0, 0]))
    with pytest.raises(InputError, match="known is a bool tensor"):
        next(steps(model, x, x > 0, levels=4, method="logits"))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(
    "options",
    [{"channels": 3, "levels": 5}, {"layer": "row-lstm", "orders": 8}, {"layer": "pixel-cnn"}, {"factors": (2,)}],
)
def test_rows_of_images_have_the_bits_of_the_steps(name: Backend, options: dict[str, Any]) -> None:
    kind: Any = MultiScalePixelRNN if "factors" in options else PixelRNN
    model = randomized(kind(**{"levels": 4, "hidden": 3, **options}))
    x = torch.randint(model.levels, (2, model.channels, 4, 4), dtype=torch.uint8)
    order = torch.tensor([6, 1]) if model.orders > 1 else 0
    with backend(name):
        rows = [*model.rows(x, order=order)]
        found, _ = followed(model.steps(x, torch.zeros(4, 4, dtype=torch.bool), order=order), None)
    logits = torch.cat([row.logits.permute(3, 2, 0, 1).flatten(0, 1) for row in rows])
    pixels = torch.cat([row.pixels.permute(2, 1, 0).flatten(0, 1) for row in rows])
    coded = ~logits[:, 0, 0].isnan()
    assert torch.equal(logits[coded], torch.stack([step.logits for step in found]))
    assert len(pixels[coded]) == len(found)


def test_the_rows_are_those_of_the_images() -> None:
    model, x = model_of(), torch.randint(4, (2, 1, 3, 5), dtype=torch.uint8)
    noise = torch.random.get_rng_state()
    assert torch.equal(torch.stack([row.pixels for row in model.rows(x)], dim=2), x)
    assert torch.equal(torch.random.get_rng_state(), noise)
    with pytest.raises(InputError, match="images have a level 9, expected 0 to 3"):
        next(model.rows(torch.full_like(x, 9)))
