import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import anomalies
from pixelrnn import PixelRNN


def test_the_auroc_is_the_probability_of_a_higher_score() -> None:
    normal, unusual = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 9.0])
    higher = [float(u > n) + float(u == n) / 2 for u in unusual for n in normal]
    assert anomalies.auroc(normal, unusual) == pytest.approx(sum(higher) / 6)
    assert anomalies.auroc(unusual, normal) == pytest.approx(1 - sum(higher) / 6)


@pytest.mark.parametrize(("channels", "levels", "size"), [(1, 2, (28, 28)), (3, 256, (32, 24))])
def test_the_sets_have_the_form_of_the_test_images(
    channels: int, levels: int, size: tuple[int, int], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (70, 100, 3), dtype=np.uint8)).save(tmp_path / "photo.png")
    x = torch.from_numpy(random.integers(0, levels, (6, channels, *size), dtype=np.uint8))
    sets = anomalies.unusual_sets(x, levels, tmp_path)
    assert [*sets] == ["upside-down", "other digits", "foreign", "shuffled", "noise", "gradients", "flat"]
    for images in sets.values():
        assert images.shape == x.shape
        assert images.dtype == torch.uint8
        assert images.max().item() < levels
    assert sets["upside-down"][0, 0, 0, 0] == x[0, 0, -1, -1]
    assert sorted(sets["shuffled"][1].flatten(1).T.tolist()) == sorted(x[1].flatten(1).T.tolist())
    assert not torch.equal(sets["shuffled"], x)
    assert (sets["flat"] == sets["flat"][:, :, :1, :1]).all()
    ramps = sets["gradients"].float()
    assert all(len(ramp.unique()) > 1 for ramp in ramps)
    assert 0.05 < sets["other digits"].float().mean() / (levels - 1) < 0.3
    assert (sets["other digits"][:, :, :2] == 0).all()  # a dark border, like MNIST's


def test_a_row_for_each_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    PixelRNN(levels=2, hidden=2).save_pretrained(tmp_path / "model")
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (11, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", train=images[:2], valid=images[2:], test=np.zeros((7, 28, 28), np.uint8))
    array = ["--data", "array", "--path", str(tmp_path / "a.npz"), "--out", str(tmp_path / "sets.png")]
    monkeypatch.setattr("sys.argv", ["anomalies.py", str(tmp_path / "model"), *array])
    anomalies.main()
    lines = capsys.readouterr().out.splitlines()
    assert "7 test images of a.npz, 2 levels" in lines[0]
    rows = {cells[1]: cells[3:6] for cells in (re.split(r" *\| *", line) for line in lines[3:])}
    assert [*rows] == ["test", "upside-down", "other digits", "shuffled", "noise", "gradients", "flat"]
    assert rows["upside-down"] == rows["shuffled"] == ["0.500"] * 3  # black test images stay as they are
    assert float(rows["noise"][2]) < 0.5  # an untrained model gives all images the same nats, WebP does not
    with Image.open(tmp_path / "sets.png") as sheet:
        assert sheet.width > sheet.height
