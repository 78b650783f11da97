from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.learning_curves import draw_epochs, draw_minutes

from benchmarks import learning_curves


def lines_of(figure: Any) -> dict[str, Any]:
    (axes,) = figure.axes
    return {str(line.get_label()): np.asarray(line.get_xydata()).tolist() for line in axes.lines}


def run_of(path: Path, *, start: str | None = None, orders: int = 1) -> Path:
    path.mkdir()
    (path / "metrics.csv").write_text("epoch,train_nats,valid_nats,seconds\n1,90,88,60\n2,85,84,150\n")
    (path / "config.yaml").write_text(f"model:\n  orders: {orders}\ntrain:\n  start: {start or 'null'}\n")
    return path


def test_the_curves_by_epoch(tmp_path: Path) -> None:
    lines = lines_of(draw_epochs({"mine": run_of(tmp_path / "mine")}))
    assert lines["mine, validation"] == [[1, 88], [2, 84]]
    assert lines["mine, training"] == [[1, 90], [2, 85]]
    assert {y for _, y in lines["paper, test: Diagonal BiLSTM, 1×32, 80.75"]} == {80.75}


def test_the_curves_by_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, second = run_of(tmp_path / "mine"), run_of(tmp_path / "second", start="mine")
    third = run_of(tmp_path / "third", start="second", orders=8)
    monkeypatch.setattr(learning_curves, "SHIPPED", {"mine": mine, "second": second})
    lines = lines_of(draw_minutes({"mine": mine, "third": third}))
    assert lines["mine"] == [[1, 88], [2.5, 84]]
    assert lines["third, mean of 8 orders"] == [[6, 88], [7.5, 84]]  # after the minutes of both runs before it
