"""The Triton kernels, run by Triton's interpreter."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.mark.slow  # the interpreter runs the operations of a kernel one by one
@pytest.mark.timeout(400)  # on a busy machine
@pytest.mark.skipif(not find_spec("triton"), reason="Triton is not installed")
def test_the_kernels_in_a_process_of_their_own() -> None:
    """Triton chooses its interpreter at import, and the shape checks of the tests would wrap the kernels."""
    cases = str(Path(__file__).with_name("triton_cases.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", cases]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow  # the compiler takes a second or two for each of four kernels
@pytest.mark.skipif(not find_spec("triton"), reason="Triton is not installed")
def test_the_kernels_compile_for_a_gpu(tmp_path: Path) -> None:
    command, environment = [sys.executable, "-m", "tests.ops.triton_compile"], {"TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
