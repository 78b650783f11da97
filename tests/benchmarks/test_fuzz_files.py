import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow  # a process without threads, which forks
def test_malformed_input_of_all_kinds_is_refused_in_one_line() -> None:
    command = [sys.executable, "-m", "benchmarks.fuzz_files", "100"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("100 trials: ")
