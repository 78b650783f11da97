import subprocess
import sys

import pytest
import torch

from benchmarks import fuzz_api


@pytest.mark.slow  # a process without threads: a forked child would wait for them
def test_no_call_crashes_or_differs_from_the_reference() -> None:
    command = [sys.executable, "benchmarks/fuzz_api.py", "--trials", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.endswith(" 0 faults\n"), done.stdout + done.stderr
    assert done.returncode == 0


def test_results_are_told_apart() -> None:
    x, y = torch.tensor([1.0, torch.nan]), torch.tensor([2.0, torch.nan])
    assert fuzz_api.equal([x], [x])
    for other in ([y], [x.double()], [x[:1]], [x, x], [torch.zeros(2)]):
        assert not fuzz_api.equal([x], other)


def test_a_crash_is_a_fault_and_the_next_trial_runs() -> None:
    script = """
import os, signal
from benchmarks import fuzz_api
def trial(name):
    if name == "0 2": os.kill(os.getpid(), signal.SIGSEGV)
    return "equal", ""
fuzz_api.trial = trial
results = [result for _, result, _ in fuzz_api.run(0, 0, 4)]
assert results == ["equal", "equal", "the process ended with -11", "equal"]
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
