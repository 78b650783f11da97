import pytest
import torch

from pixelrnn import InputError, MultiScalePixelRNN, PixelRNN
from pixelrnn.demo import buttons
from pixelrnn.demo.buttons import EMPTY
from pixelrnn.explain.context import AT, NAMES, SIZE, of_random
from pixelrnn.models import ImageModel
from pixelrnn.randomness import generator


def test_the_upper_half() -> None:
    assert buttons.top([[1, 2], [3, 4], [5, 6]]) == [[1, 2], [EMPTY, EMPTY], [EMPTY, EMPTY]]
    assert buttons.blank((2, 3)) == [[0, 0, 0], [EMPTY] * 3]


@pytest.mark.parametrize(
    ("model", "label"),
    [
        (PixelRNN(levels=4, hidden=2, size=(5, 3)), None),
        (PixelRNN(levels=2, hidden=2, size=(4, 6), classes=["a", "b"]), 1),
        (MultiScalePixelRNN(factors=(2,), levels=3, hidden=2, size=(4, 4)), None),
    ],
)
def test_a_completion_grows_by_rows_to_that_of_the_model(model: ImageModel, label: int | None) -> None:
    assert model.size is not None
    height, width = model.size
    image = torch.randint(model.levels, (height, width)).tolist()
    shown = list(buttons.completion(model, image, label, temperature=0.7, generator=generator(3)))

    x = torch.tensor(buttons.top(image)).clamp(min=0).to(torch.uint8)[None, None]
    known = (torch.arange(height) < height // 2)[:, None].expand(height, width)
    labels = None if label is None else torch.tensor([label])
    whole = model.complete(x, known, labels=labels, temperature=0.7, generator=generator(3))[0, 0].tolist()
    assert whole[: height // 2] == image[: height // 2]
    empty = [[EMPTY] * width] * height
    assert shown == [whole[:i] + empty[i:] for i in range(height // 2 + 1, height + 1)]


def test_samples_are_those_of_the_model() -> None:
    model = PixelRNN(levels=4, hidden=2, size=(5, 3), classes=["a", "b"])
    drawn = buttons.samples(model, 1, temperature=0.5, generator=generator(1))
    labels = torch.ones(buttons.SAMPLES, dtype=torch.long)
    expected = model.sample(buttons.SAMPLES, labels=labels, temperature=0.5, generator=generator(1))
    assert drawn == expected[:, 0].tolist()
    with pytest.raises(InputError, match="labels are missing, expected one of 2 classes"):
        buttons.samples(model, None)


@pytest.mark.parametrize("at", [(0, 0), AT, (14, 18)])
def test_the_pixels_of_each_kind_of_layer(at: tuple[int, int]) -> None:
    for layer, seen in zip(NAMES, buttons.contexts([*at]), strict=True):
        rows, columns = of_random(layer, 1, SIZE, at).array.nonzero()
        assert [divmod(p, SIZE[1]) for p in seen] == [*zip(rows.tolist(), columns.tolist(), strict=True)]
        assert all(p < at[0] * SIZE[1] + at[1] for p in seen)
