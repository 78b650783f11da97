from pathlib import Path

import numpy as np
import pytest
import torch

from pixelrnn.cli.outputs import save_arrays
from pixelrnn.data import array


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_are_read_again_as_images(tmp_path: Path, channels: int) -> None:
    x = torch.randint(4, (5, channels, 3, 2), dtype=torch.uint8)
    save_arrays(tmp_path / "new" / "a.npz", 4, images=x, known=x[0, 0] > 1)
    read = array.load(tmp_path / "new" / "a.npz", levels=4, key="images")
    assert torch.equal(read.splits["train"].pixels, x)
    with np.load(tmp_path / "new" / "a.npz") as arrays:
        assert arrays["levels"] == 4
        assert arrays["known"].tolist() == (x[0, 0] > 1).tolist()
