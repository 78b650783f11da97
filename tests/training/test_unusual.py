import math
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from pixelrnn.data import Images
from pixelrnn.training.unusual import Scores, percentiles, two_sided, webp_bits


def test_percentiles_count_equal_scores_half() -> None:
    usual = torch.tensor([4.0, 1.0, 2.0, 2.0])
    scores = torch.tensor([0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 9.0])
    assert percentiles(scores, usual).tolist() == [0, 12.5, 25, 50, 75, 87.5, 100]


def test_both_tails_are_unusual() -> None:
    assert two_sided(torch.tensor([0.0, 25.0, 50.0, 75.0, 100.0])).tolist() == [100, 50, 0, 50, 100]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_bits_of_a_webp_file_hold_the_image(channels: int) -> None:
    x = torch.randint(4, (2, channels, 9, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for image in x:
        array = (image * 85).movedim(0, -1).numpy()
        Image.fromarray(array[..., 0] if channels == 1 else array).save(file := BytesIO(), "WEBP", lossless=True)
        assert webp_bits(image, 4) == 8 * file.tell()
        with Image.open(file) as read:
            assert (np.asarray(read.convert("RGB"))[..., 0] == array[..., 0]).all()


def test_excess_bits_are_those_beyond_a_webp_file() -> None:
    noise = torch.randint(2, (1, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    x = torch.cat([torch.zeros_like(noise), noise])
    own = Scores.of(torch.tensor([math.log(2), 10 * math.log(2)], dtype=torch.float64), Images(x), levels=2)
    bits = torch.tensor([webp_bits(image, 2) for image in x])
    torch.testing.assert_close(own.excess_bits, torch.tensor([1.0, 10.0], dtype=torch.float64) - bits)
    assert bits[0] < bits[1] - 200  # a flat image is simple


@pytest.mark.parametrize("channels", [2, 4])
def test_images_of_any_number_of_channels_have_excess_bits(channels: int) -> None:
    x = torch.zeros(2, channels, 5, 6, dtype=torch.uint8)
    x[1, -1] = torch.arange(30).reshape(5, 6)
    assert webp_bits(x[0], 256) < webp_bits(x[1], 256)
