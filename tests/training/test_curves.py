from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pixelrnn.data import DataConfig
from pixelrnn.training import fit as fit_module
from pixelrnn.training.curves import Curves
from pixelrnn.training.fit import fit
from tests.training.runs import recipe, rows


def test_tensorboard_reads_numbers_and_pictures(tmp_path: Path) -> None:
    curves = Curves(tmp_path / "tensorboard")
    for step in (1, 2):
        curves.log_metrics({"a": step / 2, "b": 3.0}, step)
    curves.log_image("c", torch.zeros(1, 4, 5, dtype=torch.uint8), 7)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("a")] == [(1, 0.5), (2, 1.0)]
    assert [(event.step, event.value) for event in events.Scalars("b")] == [(1, 3.0), (2, 3.0)]
    (picture,) = events.Images("c")
    assert (picture.step, picture.height, picture.width) == (7, 4, 5)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_run_that_cannot_write_its_log_goes_on_and_says_so_once(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Full(Curves):
        def __init__(self, folder: Path) -> None:
            super().__init__(folder)
            self.file = Path("/dev/full")

    fit(recipe(images, sample_every=1), tmp_path / "whole")
    capfd.readouterr()
    monkeypatch.setattr(fit_module, "Curves", Full)
    fit(recipe(images, sample_every=1), tmp_path / "run")
    output = capfd.readouterr()
    assert output.err == "pixelrnn: the run continues without TensorBoard: No space left on device: /dev/full\n"
    assert output.out.count("epoch ") == output.out.count("\nepoch ") == 2
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")
