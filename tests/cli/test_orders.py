"""The commands with a model of several orders of generation."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pixelrnn import PixelRNN
from pixelrnn.cli import main
from pixelrnn.data import DataConfig, load
from pixelrnn.training import evaluation
from tests.cli.checks import TINY, fails


def test_a_model_of_several_orders(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, asked = tmp_path / "orders", list[Any]()
    assert main(["train", "digits", "--run", str(path), *TINY, "--model.orders", "8"]) == 0

    def accuracy(*_: Any, order: Any, **__: Any) -> float:
        asked.append(order)
        return 0.5

    monkeypatch.setattr(evaluation, "accuracy", accuracy)
    assert main(["evaluate", str(path), "--classify", "--order", "mixture"]) == 0
    assert asked == ["mixture"]
    capsys.readouterr()
    printed = []
    for order, words in (("identity", "raster order"), ("mixture", "mixture of 8 orders")):
        assert main(["evaluate", str(path), "--order", order]) == 0
        printed.append(capsys.readouterr().out)
        assert re.fullmatch(rf"digits, 17 levels; .*, {words} \| valid, 167 images \| .*\n", printed[-1])
    assert printed[0].split("|")[-2:] != printed[1].split("|")[-2:]
    fails(capsys, ["evaluate", str(run), "--order", "mixture"], "has one order of generation: omit --order mixture")

    samples = ["sample", "--n", "2", "--overwrite", "--out", str(tmp_path / "s.png"), "--width", "4"]
    drawn = []
    for order in ("0", "5"):
        assert main([*samples, str(path), "--order", order]) == 0
        with np.load(tmp_path / "s.npz") as arrays:
            drawn.append(arrays["images"])
    assert drawn[0].shape == drawn[1].shape == (2, 8, 4)
    assert (drawn[0] != drawn[1]).any()
    fails(capsys, [*samples, str(path), "--order", "8"], "--order must be from 0 to 7, got 8")
    fails(capsys, [*samples, str(run), "--order", "1"], "has one order of generation: omit --order 1")

    [data] = load(DataConfig(source="digits")).valid.spread(1).pixels
    known = torch.zeros(8, 8, dtype=torch.bool)
    known[:, 4:] = True
    model, noise = PixelRNN.from_pretrained(path), torch.Generator().manual_seed(0)
    assert main(["complete", str(path), "--n", "1", "--keep", "right", "--out", str(tmp_path / "c.png")]) == 0
    with np.load(tmp_path / "c.npz") as arrays:
        assert (arrays["known"] == known.numpy()).all()
        expected = model.complete(data[None], known, order=5, generator=noise)
        assert (arrays["completed"] == expected[:, 0].numpy()).all()
