import pytest
import torch

from pixelrnn import PixelRNN

pytest.importorskip("constriction", reason="the extra compress is not installed")


def test_sizes_and_times() -> None:
    from benchmarks.compression import sizes, times

    model, x = PixelRNN(levels=2, hidden=2), torch.randint(2, (6, 1, 4, 5), dtype=torch.uint8)
    lines = sizes(model, x).splitlines()
    found = {line[:30].strip(): float(line[30:43].replace(",", "")) for line in lines}
    assert found["−log₂ p(x)"] == pytest.approx(6 * 20 / 8, rel=0.2)  # an untrained model is near uniform
    assert found["pixelrnn, one file"] > found["−log₂ p(x)"]
    assert {"PNG, a file each", "WebP lossless, a file each", "xz of all raw pixels"} <= {*found}
    assert times(model, x).startswith("   6 images: sample ")
