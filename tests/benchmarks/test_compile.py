import subprocess
import sys
from pathlib import Path

import pytest

CODE = "from benchmarks import compile; print(compile.compare('row-lstm', batch=2, side=4))"


@pytest.mark.slow  # compiles a network, in a process without shape checks: torch.compile cannot see through them
def test_both_are_measured() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", CODE], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("row-lstm, batch 2, 4×4: eager "), done.stderr
    assert "ratio at most 1.1, measured " in done.stdout
