from pathlib import Path

import numpy as np
from benchmarks.learning_curves import draw


def test_the_curves(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,train_nats,valid_nats\n1,90,88\n2,85,84\n")
    (axes,) = draw({"mine": tmp_path}).axes
    lines = {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in axes.lines}
    assert lines["mine, validation"] == [88, 84]
    assert lines["mine, training"] == [90, 85]
    assert lines["paper, test: Diagonal BiLSTM, 1×32, 80.75"] == [80.75, 80.75]
