from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pixelrnn import InputError, MultiScalePixelRNN, PixelRNN
from pixelrnn.explain import generation
from pixelrnn.models import ImageModel


def shown(axes: Axes) -> NDArray[np.float32]:
    """The values of an image; NaN where it is empty."""
    array = np.ma.asarray(axes.get_images()[0].get_array()).astype(np.float32)
    return np.ma.filled(array, np.nan)


def test_frames_show_a_sample_and_its_probability(tmp_path: Path) -> None:
    model = PixelRNN(levels=2, hidden=2, size=(4, 3))
    model.save_pretrained(tmp_path)
    figures = list(generation.of_sample(str(tmp_path), seed=3))
    assert len(figures) == 4
    pixels, white, surprise = (shown(axes) for axes in figures[-1].axes[:3])
    sample = torch.from_numpy(pixels).to(torch.uint8)[None, None]
    assert torch.equal(sample, model.sample(1, generator=torch.Generator().manual_seed(3)))
    terms = -model.log_prob_map(sample)[0, 0].detach()
    np.testing.assert_allclose(surprise, terms.numpy(), atol=1e-6)
    np.testing.assert_allclose(np.exp(-surprise), np.where(pixels == 1, white, 1 - white), atol=1e-6)
    assert f"{float(terms.sum()):.1f} nats" in figures[-1].axes[2].get_title()
    assert np.isnan(shown(figures[0].axes[0])[1:]).all()


def test_a_sample_of_a_class(tmp_path: Path) -> None:
    PixelRNN(levels=2, hidden=2, size=(2, 3), classes=["a", "b"]).save_pretrained(tmp_path)
    assert len(list(generation.of_sample(str(tmp_path), seed=3))) == 2


@pytest.mark.parametrize(("channels", "levels"), [(1, 5), (3, 2), (3, 256)])
def test_frames_of_grey_and_rgb_models(channels: int, levels: int, tmp_path: Path) -> None:
    model = PixelRNN(channels=channels, levels=levels, hidden=3, size=(3, 4))
    model.save_pretrained(tmp_path)
    *_, figure = generation.of_sample(str(tmp_path), seed=3)
    pixels, expected, surprise = (shown(axes) for axes in figure.axes[:3])
    sample = model.sample(1, seed=3)
    with torch.no_grad():
        logits = model(sample)[0]  # (logits, C, H, W)
        logits = torch.cat([torch.zeros_like(logits), logits]) if levels == 2 else logits
        means = torch.einsum("kchw,k->hwc", logits.softmax(dim=0), torch.arange(levels) / (levels - 1))
        terms = -model.log_prob_map(sample)[0].sum(dim=0)
    for found, values in ((pixels, sample[0].movedim(0, -1) / (levels - 1)), (expected, means)):
        by_channel = found[..., :3] if channels == 3 else found[..., None]  # an RGB panel has opacities too
        np.testing.assert_allclose(by_channel, values.numpy(), atol=1e-5)
    np.testing.assert_allclose(surprise, terms.numpy(), atol=1e-4)


def test_rows_to_come_are_empty_in_rgb(tmp_path: Path) -> None:
    PixelRNN(channels=3, levels=4, hidden=3, size=(3, 4)).save_pretrained(tmp_path)
    first = next(generation.of_sample(str(tmp_path)))
    for axes in first.axes[:2]:
        opacity = shown(axes)[..., 3]
        assert (opacity[:1] == 1).all()
        assert (opacity[1:] == 0).all()


def test_a_tall_image_takes_few_frames(tmp_path: Path) -> None:
    PixelRNN(levels=2, hidden=2, size=(70, 2)).save_pretrained(tmp_path)
    figures = list(generation.of_sample(str(tmp_path)))
    assert len(figures) == 24
    assert not np.isnan(shown(figures[-1].axes[0])).any()


def test_other_models_are_refused(tmp_path: Path) -> None:
    refused: list[tuple[ImageModel, str]] = [
        (PixelRNN(channels=2, levels=3, hidden=2, size=(4, 3)), r"an image file cannot hold 2 channels, expected 1"),
        (MultiScalePixelRNN(factors=(2,), levels=2, hidden=2, size=(4, 4)), "is a MultiScalePixelRNN: .* use a Pixel"),
    ]
    for model, message in refused:
        model.save_pretrained(tmp_path)
        with pytest.raises(InputError, match=message):
            next(generation.of_sample(str(tmp_path)))
