"""How much memory the process holds, on Linux."""

import ctypes
from contextlib import suppress
from pathlib import Path


def forget_peak() -> float:
    """Resets the peak-memory counter and returns what the process holds now, in MiB."""
    with suppress(AttributeError, OSError, TypeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # no such file
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> float:
    """The most that the process has held since `forget_peak`, in MiB; NaN where Linux's counters are missing."""
    return _status("VmHWM")


def _status(name: str) -> float:
    """A line of /proc/self/status, in MiB."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), float("nan"))
