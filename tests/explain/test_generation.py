from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pixelrnn import InputError, PixelRNN
from pixelrnn.explain import generation


def shown(axes: Axes) -> NDArray[np.float32]:
    """The values of an image; NaN where it is empty."""
    array = np.ma.asarray(axes.get_images()[0].get_array()).astype(np.float32)
    return np.ma.filled(array, np.nan)


def test_frames_show_a_sample_and_its_probability(tmp_path: Path) -> None:
    model = PixelRNN(levels=2, hidden=2, size=(4, 3))
    model.save_pretrained(tmp_path)
    figures = list(generation.of_digit(str(tmp_path), seed=3))
    assert len(figures) == 4
    pixels, white, surprise = (shown(axes) for axes in figures[-1].axes[:3])
    sample = torch.from_numpy(pixels).to(torch.uint8)[None, None]
    assert torch.equal(sample, model.sample(1, generator=torch.Generator().manual_seed(3)))
    terms = -model.log_prob_map(sample)[0, 0].detach()
    np.testing.assert_allclose(surprise, terms.numpy(), atol=1e-6)
    np.testing.assert_allclose(np.exp(-surprise), np.where(pixels == 1, white, 1 - white), atol=1e-6)
    assert f"{float(terms.sum()):.1f} nats" in figures[-1].axes[2].get_title()
    assert np.isnan(shown(figures[0].axes[0])[1:]).all()


def test_a_digit_of_a_class(tmp_path: Path) -> None:
    PixelRNN(levels=2, hidden=2, size=(2, 3), classes=["a", "b"]).save_pretrained(tmp_path)
    assert len(list(generation.of_digit(str(tmp_path), seed=3))) == 2


def test_other_models_are_refused(tmp_path: Path) -> None:
    PixelRNN(levels=3, hidden=2, size=(4, 3)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"is not a PixelRNN of black-and-white images .* of one size"):
        next(generation.of_digit(str(tmp_path)))
