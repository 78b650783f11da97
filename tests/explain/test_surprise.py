import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib", reason="the extra train is not installed")

from pixelrnn.explain import surprise


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_has_a_map_of_its_bits_on_one_scale(channels: int) -> None:
    x = torch.randint(256, (2, channels, 15, 14), dtype=torch.uint8)
    bits = torch.rand(2, channels, 15, 14)
    bits[0, 0, 2, 3] = 100
    figure = surprise.draw(x, bits, ["one", "two"])
    *cells, scale = figure.axes
    assert [cell.get_title() for cell in cells[:2]] == ["one", "two"]
    of_pixels = bits.sum(dim=1).numpy()
    for cell, own in zip(cells[2:], of_pixels, strict=True):
        (shown,) = cell.images
        assert np.allclose(np.asarray(shown.get_array()), own)
        least, most = shown.get_clim()
        assert least == 0
        assert np.sum(of_pixels > most) == 5  # one in a hundred of 420, rounded up
        assert cell.get_title() == f"{own.sum():,.1f} bits"
    assert scale.get_ylabel() == "bits per pixel"
