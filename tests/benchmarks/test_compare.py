from pathlib import Path

import numpy as np
from benchmarks.compare import compare, scores


def test_scores_are_paired_by_image(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("split,image,nats,bits_per_dim\ntest,x,1,2.5\nvalid,x,2,3.5\n")
    assert scores(tmp_path / "a.csv") == {("test", "x"): 2.5, ("valid", "x"): 3.5}


def test_the_comparison() -> None:
    other = np.array([6.0, 1.0, 4.0, 2.0, 5.0, 3.0])
    one = other - [0.5, -0.1, 0.2, -0.3, 0.7, 0.2]
    line = compare(one, other)
    assert line.startswith("6 images | ahead by +0.2000 ± 0.1506 bits/dim, on 66.7 % |")
    assert line.endswith("-0.2000, +0.2000, +0.6000")
