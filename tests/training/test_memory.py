import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
from pixelrnn.training.memory import keep_freed
keep_freed()
def use():
    bytearray(64 << 20)  # zeroing touches every page
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="keep_freed knows glibc only")
def test_memory_that_was_freed_is_taken_again_without_the_kernel() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100
