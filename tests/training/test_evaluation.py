import math
from typing import Literal

import pytest
import torch

from pixelrnn import InputError, PixelRNN
from pixelrnn.data import Data, Images
from pixelrnn.training.evaluation import accuracy, check_fit, score, unknown_nats
from tests.checks import OnMPS


def data(levels: int = 4, channels: int = 1) -> Data:
    pixels, names = torch.randint(levels, (7, channels, 3, 2), dtype=torch.uint8), [f"{n}.png" for n in range(7)]
    images = Images(pixels, names, torch.arange(7) % 2)
    valid, test = images.subset(torch.arange(5)), images.subset(torch.arange(5, 7))
    return Data(images, valid, test, levels, ["even", "odd"], "made up, 4 levels")


def test_a_score_is_the_mean_of_its_images() -> None:
    model, images = PixelRNN(levels=4, hidden=2), data()
    got = score(model, images.valid, split="valid", protocol=images.protocol, batch=2)
    expected = -model.log_prob(images.valid.pixels).double()
    torch.testing.assert_close(got.per_image, expected, rtol=0, atol=1e-5)
    assert got.nats == pytest.approx(expected.mean().item())
    assert got.bits_per_dim == pytest.approx(expected.mean().item() / (6 * math.log(2)))
    assert [name for name, _, _ in got.rows()] == [f"{n}.png" for n in range(5)]
    assert str(got) == (
        f"made up, 4 levels | valid, 5 images | {got.nats:.3f} nats/image | {got.bits_per_dim:.4f} bits/dim"
    )


def test_a_score_is_of_an_order() -> None:
    model, images = PixelRNN(levels=4, hidden=2, orders=2, classes=["even", "odd"]), data()
    labels = torch.arange(5) % 2  # of the validation images
    order: Literal["mixture"] | int
    for order in (1, "mixture"):
        got = score(model, images.valid, split="valid", protocol="", batch=2, order=order)
        expected = -model.log_prob(images.valid.pixels, labels=labels, order=order).double()
        torch.testing.assert_close(got.per_image, expected, rtol=0, atol=1e-5)
        likeliest = model.log_prob_by_class(images.valid.pixels, order=order).argmax(dim=1)
        right = likeliest.eq(labels).double().mean().item()
        assert accuracy(model, images.valid, split="valid", order=order) == pytest.approx(right)


def test_scores_leave_the_device_before_they_become_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = PixelRNN(levels=4, hidden=2), data()
    log_prob = model.log_prob
    monkeypatch.setattr(model, "log_prob", lambda x, **given: log_prob(x, **given).as_subclass(OnMPS))
    assert score(model, images.valid, split="valid", protocol="").per_image.dtype == torch.float64


def test_images_of_another_kind_are_refused() -> None:
    model = PixelRNN(levels=4, hidden=3, size=(3, 2))
    check_fit(model, data())
    check_fit(PixelRNN(levels=4, hidden=3), data())
    with pytest.raises(InputError, match=r"the images \(made up, 4 levels\) have levels 2, expected 4 like the model"):
        check_fit(model, data(levels=2))
    with pytest.raises(InputError, match=r"the images .* have channels 3, expected 1 like the model"):
        check_fit(model, data(channels=3))
    with pytest.raises(InputError, match=r"the images .* have size \(3, 2\), expected \(2, 3\) like the model"):
        check_fit(PixelRNN(levels=4, hidden=3, size=(2, 3)), data())


def test_classes() -> None:
    model, images = PixelRNN(levels=4, hidden=3, classes=["even", "odd"]), data()
    check_fit(model, images)
    with pytest.raises(
        InputError, match=r"the images .* have classes \['even', 'odd'\], expected \['a', 'b'\] like the model"
    ):
        check_fit(PixelRNN(levels=4, hidden=3, classes=["a", "b"]), images)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    got = score(model, images.valid, split="valid", protocol="", batch=2)
    expected = -model.log_prob(images.valid.pixels, labels=images.valid.labels).double()
    torch.testing.assert_close(got.per_image, expected, rtol=0, atol=1e-4)
    likeliest = model.log_prob_by_class(images.valid.pixels).argmax(dim=1)
    right = sum(a == b for a, b in zip(likeliest.tolist(), [0, 1, 0, 1, 0], strict=True))
    assert accuracy(model, images.valid, split="valid", batch=2) == pytest.approx(right / 5)
    with pytest.raises(InputError, match="cannot classify: the model is not conditional on a class"):
        accuracy(PixelRNN(levels=4, hidden=3), images.valid, split="valid")
    with pytest.raises(InputError, match="cannot classify: the images have no labels"):
        accuracy(model, Images(images.valid.pixels), split="valid")


def test_a_model_that_gives_no_numbers_is_refused() -> None:
    model = PixelRNN(levels=4, hidden=3)
    for parameter in model.head.parameters():
        torch.nn.init.constant_(parameter, 1e30)
    with pytest.raises(InputError, match=r"the model gives nan nats/image on test, expected a finite number"):
        score(model, data().test, split="test", protocol="")


def test_the_unknown_pixels_have_their_terms_of_the_order() -> None:
    torch.manual_seed(0)
    model = PixelRNN(levels=4, hidden=2, size=(3, 3), orders=4, classes=["a", "b"])
    x, labels = torch.randint(4, (70, 1, 3, 3), dtype=torch.uint8), torch.arange(70) % 2
    known = torch.tensor([[0, 0, 0], [0, 1, 1], [1, 1, 1]], dtype=torch.bool)
    found = unknown_nats(model, x, known, order=1, labels=labels)
    terms = model.log_prob_map(x, order=1, labels=labels)[:, 0]
    torch.testing.assert_close(found, -terms[:, ~known].sum(dim=1))
