import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = "from benchmarks import compile; print(compile.compare('row-lstm', batch=2, side=4))"


@pytest.mark.slow  # compiles a network, in a process without shape checks, which torch.compile cannot trace
def test_both_are_measured(tmp_path: Path) -> None:
    root, environment = Path(__file__).parents[2], {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("row-lstm, batch 2, 4×4: eager "), done.stderr
    assert "ratio at most 1.1, measured " in done.stdout
