import pytest
import torch

from pixelrnn import InputError, MultiScalePixelRNN, PixelRNN
from pixelrnn.demo import buttons
from pixelrnn.demo.buttons import EMPTY
from pixelrnn.explain.context import AT, NAMES, SIZE, of_random
from pixelrnn.models import ImageModel
from pixelrnn.randomness import generator


def test_what_is_erased() -> None:
    assert buttons.top([[1, 2], [3, 4], [5, 6]]) == [[1, 2], [EMPTY, EMPTY], [EMPTY, EMPTY]]
    assert buttons.blank((2, 3)) == [[0, 0, 0], [EMPTY] * 3]
    assert buttons.without([[1, 2], [3, EMPTY]], [[EMPTY, 0], [5, 6]]) == [[EMPTY, 2], [3, EMPTY]]


@pytest.mark.parametrize("share", [0, 0.3, 1])
@pytest.mark.parametrize(
    ("model", "label"),
    [
        (PixelRNN(levels=4, hidden=2, size=(5, 3)), None),
        (PixelRNN(levels=2, hidden=2, size=(4, 6), classes=["a", "b"], orders=8), 1),
        (MultiScalePixelRNN(factors=(2,), levels=3, hidden=2, size=(4, 4), orders=4), None),
        (PixelRNN(channels=3, levels=256, hidden=3, size=(4, 5), orders=8), None),
    ],
)
def test_a_completion_is_that_of_the_model(model: ImageModel, label: int | None, share: float) -> None:
    assert model.size is not None
    x = torch.randint(model.levels, (1, model.channels, *model.size), dtype=torch.uint8)
    known = torch.rand(model.size) < share
    known[-1, -1] = False
    image = torch.where(known, buttons.numbers(x, model.levels)[0], EMPTY).tolist()
    *_, shown = buttons.completion(model, image, label, temperature=0.7, generator=generator(3))

    labels = None if label is None else torch.tensor([label])
    whole = model.complete(x, known, labels=labels, temperature=0.7, generator=generator(3))
    assert shown == buttons.numbers(whole, model.levels)[0].tolist()
    assert torch.equal(whole[..., known], x[..., known])


SIDES = {  # the erased half, and then the kept lines in the order in which the others join them
    "bottom": (slice(2, 4), slice(6), [2, 3]),
    "top": (slice(2), slice(6), [1, 0]),
    "right": (slice(4), slice(3, 6), [3, 4, 5]),
    "left": (slice(4), slice(3), [2, 1, 0]),
}


@pytest.mark.parametrize(("rows", "columns", "lines"), SIDES.values(), ids=SIDES)
def test_a_completion_grows_from_the_kept_side(rows: slice, columns: slice, lines: list[int]) -> None:
    model = PixelRNN(levels=2, hidden=2, size=(4, 6), orders=8)
    x = torch.zeros(model.size or (), dtype=torch.long)
    x[rows, columns] = EMPTY
    shown = torch.tensor([*buttons.completion(model, x.tolist(), None)])
    whole = shown[-1]
    assert len(shown) == len(lines)
    for n, image in enumerate(shown, start=1):
        erased = torch.zeros_like(x, dtype=torch.bool)
        erased[(lines[n:], columns) if columns == slice(6) else (rows, lines[n:])] = True
        assert torch.equal(image, torch.where(erased, EMPTY, whole))


def test_a_completion_of_many_rows_takes_few_steps() -> None:
    model = PixelRNN(levels=2, hidden=2, size=(33, 2))
    shown = [*buttons.completion(model, [[EMPTY] * 2] * 33, None)]
    erased = [sum(row == [EMPTY] * 2 for row in image) for image in shown]
    assert erased == [*range(30, -1, -3)]


def test_there_must_be_something_to_complete() -> None:
    model = PixelRNN(levels=2, hidden=2, size=(4, 4))
    with pytest.raises(InputError, match="nothing is erased: erase a part first"):
        next(buttons.completion(model, [[0] * 4] * 4, None))


def test_a_pixel_is_a_number() -> None:
    x = torch.tensor([[3, 0], [2, 0], [1, 3]], dtype=torch.uint8)[None, :, None]  # two RGB pixels of four levels
    assert buttons.numbers(x, 4).tolist() == [[[3 * 16 + 2 * 4 + 1, 3]]]
    assert torch.equal(buttons.of_numbers(buttons.numbers(x, 4), 3, 4), x)
    x = torch.randint(256, (2, 3, 4, 5), dtype=torch.uint8)
    assert torch.equal(buttons.of_numbers(buttons.numbers(x, 256), 3, 256), x)
    assert torch.equal(buttons.numbers(x[:, :1], 256), x[:, 0])


def test_samples_are_those_of_the_model() -> None:
    model = PixelRNN(levels=4, hidden=2, size=(5, 3), classes=["a", "b"])
    drawn = buttons.samples(model, 1, temperature=0.5, generator=generator(1))
    labels = torch.ones(buttons.SAMPLES, dtype=torch.long)
    expected = model.sample(buttons.SAMPLES, labels=labels, temperature=0.5, generator=generator(1))
    assert drawn == expected[:, 0].tolist()
    rgb = PixelRNN(channels=3, levels=4, hidden=3, size=(5, 3))
    x = rgb.sample(buttons.SAMPLES, seed=1)
    assert buttons.samples(rgb, None, generator=generator(1)) == buttons.numbers(x, 4).tolist()
    with pytest.raises(InputError, match="labels are missing, expected one of 2 classes"):
        buttons.samples(model, None)


@pytest.mark.parametrize("at", [(0, 0), AT, (14, 18)])
def test_the_pixels_of_each_kind_of_layer(at: tuple[int, int]) -> None:
    for layer, seen in zip(NAMES, buttons.contexts([*at]), strict=True):
        rows, columns = of_random(layer, 1, SIZE, at).array.nonzero()
        assert [divmod(p, SIZE[1]) for p in seen] == [*zip(rows.tolist(), columns.tolist(), strict=True)]
        assert all(p < at[0] * SIZE[1] + at[1] for p in seen)
