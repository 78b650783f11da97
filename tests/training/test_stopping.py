import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger

from pixelrnn import InputError
from pixelrnn.data import DataConfig
from pixelrnn.training.checkpoint import read
from pixelrnn.training.fit import fit
from pixelrnn.training.stopping import Patience
from tests.training.kills import contents
from tests.training.runs import recipe, rows, watched, weights


def test_a_run_ends_when_its_score_no_longer_falls(
    tmp_path: Path, images: DataConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    # Without a learning rate, no epoch is better than the first.
    r = recipe(images, epochs=9, patience=2, learning_rate=1e-30, ema=0.0, sample_every=5)
    run = tmp_path / "run"
    fit(r, run)
    said = "training ends early: no better validation score in 2 epochs"
    assert capsys.readouterr().out.splitlines()[-1] == said
    assert [row["epoch"] for row in rows(run)] == ["1", "2", "3"]
    assert [path.name for path in (run / "samples").iterdir()] == ["epoch-0003.png"]  # of the last epoch
    before = contents(run)
    fit(r, run, resume=True)
    assert contents(run) == before
    for epochs, patience in ((9, 0), (3, 2)):  # without patience, and with one that ends in the last epoch
        r = recipe(images, epochs=epochs, patience=patience, learning_rate=1e-30, ema=0.0, sample_every=5)
        fit(r, tmp_path / f"all-{epochs}")
        assert len(rows(tmp_path / f"all-{epochs}")) == epochs
        assert said not in capsys.readouterr().out


def test_patience_is_remembered(tmp_path: Path, images: DataConfig) -> None:
    r = {"patience": 2, "learning_rate": 1e-30, "ema": 0.0}
    for epochs in (1, 2):
        fit(recipe(images, epochs=epochs, **r), tmp_path / "run", resume=epochs > 1)
    (state,) = [
        s for key, s in read(tmp_path / "run" / "checkpoints" / "last.ckpt")["callbacks"].items() if "Pat" in key
    ]
    assert state["wait_count"] == 1
    assert math.isfinite(state["best_score"])
    fit(recipe(images, epochs=9, **r), tmp_path / "run", resume=True)
    assert len(rows(tmp_path / "run")) == 3
    assert Patience(2).state_dict() == {"wait_count": 0, "best_score": math.inf}


@pytest.mark.parametrize(("before", "after", "epochs"), [(0, 1, 2), (1, 0, 4)])
def test_a_run_resumes_with_another_patience(
    tmp_path: Path, images: DataConfig, before: int, after: int, epochs: int
) -> None:
    r = {"learning_rate": 1e-30, "ema": 0.0}
    fit(recipe(images, epochs=2, patience=before, **r), tmp_path / "run")
    fit(recipe(images, epochs=4, patience=after, **r), tmp_path / "run", resume=True)
    assert len(rows(tmp_path / "run")) == epochs


class Steps(pl.Callback):
    """Counts the steps, and ends a run after a batch of its second epoch."""

    def __init__(self, batch: int | None = None) -> None:
        self.batch, self.steps = batch, set[int]()

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps.add(trainer.global_step)
        if (trainer.current_epoch, batch_idx) == (1, self.batch):
            raise RuntimeError("crash")


@pytest.mark.parametrize("accumulate", [2, 3, 5])
def test_gradients_add_up_before_a_step(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    r = recipe(images, accumulate=accumulate, ema=0.9)  # five batches an epoch
    steps = Steps()
    with monkeypatch.context() as patched:
        watched(patched, [steps], [])
        fit(r, tmp_path / "whole")
    assert max(steps.steps) == 2 * math.ceil(5 / accumulate)
    monkeypatch.setattr("pixelrnn.training.records.SECONDS_BETWEEN_CHECKPOINTS", 0)
    for batch in range(5):
        run = tmp_path / str(batch)
        with monkeypatch.context() as patched:
            watched(patched, [], [Steps(batch)])
            with pytest.raises(RuntimeError, match="crash"):
                fit(r, run)
        fit(r, run, resume=True)
        assert rows(run) == rows(tmp_path / "whole")
        last = [weights(path / "checkpoints" / "last.ckpt") for path in (run, tmp_path / "whole")]
        assert all(a.equal(b) for a, b in zip(*last, strict=True))


def test_any_logger_of_lightning_gets_the_metrics(tmp_path: Path, images: DataConfig) -> None:
    logger = CSVLogger(str(tmp_path / "logs"))
    fit(recipe(images), tmp_path / "run", loggers=[logger])
    assert "valid/nats" in (Path(logger.log_dir) / "metrics.csv").read_text()
    assert len(rows(tmp_path / "run")) == 2


def test_a_service_is_called_by_its_name(tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    def fake(**how: Any) -> CSVLogger:
        made.append(how)
        return CSVLogger(str(tmp_path / "logs"))

    def missing(**how: Any) -> CSVLogger:
        raise ModuleNotFoundError("no such package")

    monkeypatch.setattr("pytorch_lightning.loggers.WandbLogger", fake)
    fit(recipe(images, epochs=1, logger="wandb"), tmp_path / "run")
    assert made == [{"save_dir": str(tmp_path / "run" / "logs"), "project": "pixelrnn", "name": "run"}]
    monkeypatch.setattr("pytorch_lightning.loggers.MLFlowLogger", missing)
    with pytest.raises(InputError, match=r"train\.logger mlflow needs its package: pip install mlflow"):
        fit(recipe(images, logger="mlflow"), tmp_path / "other")
