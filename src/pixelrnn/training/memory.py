"""The memory of the process: its peak, and the reuse of freed memory."""

import ctypes
import platform
from contextlib import suppress
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>


def keep_freed() -> None:
    """Keeps freed memory in the process for the next training step. Does nothing without glibc.

    By default, glibc returns blocks of over 32 MiB to the kernel as soon as they are freed. The next step gets them
    back page by page, each zeroed. *fair, kept* and *fair* in `pixelrnn bench` show the difference.
    """
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        if mallopt(M_MMAP_THRESHOLD, 2**30):  # older versions refuse this, and then keep their defaults
            mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def forget_peak() -> float:
    """Resets the peak-memory counter and returns the memory of the process now, in MiB."""
    with suppress(AttributeError, OSError, TypeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # only Linux has the file
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> float:
    """The peak memory of the process since `forget_peak`, in MiB; NaN without Linux's counters."""
    return _status("VmHWM")


def _status(name: str) -> float:
    """A line of /proc/self/status, in MiB."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), float("nan"))
