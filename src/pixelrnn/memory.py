"""What the process holds, and what it does with memory that it has freed."""

import ctypes
import platform
from contextlib import suppress
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>


def keep_freed() -> None:
    """Keeps freed memory in the process, for the next step to take.

    Otherwise glibc hands blocks of over 32 MiB back to the kernel as soon as they are freed, and in the next training
    step has them again page by page, each zeroed: *fair, kept* beside *fair* in `pixelrnn bench` shows what that costs.
    With another libc, nothing is done.
    """
    if _glibc():
        mallopt = ctypes.CDLL(None).mallopt
        if mallopt(M_MMAP_THRESHOLD, 2**30):  # older versions refuse, and are better left as they are
            mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def give_back_freed() -> None:
    """Hands what is free now back to the kernel, so that what the process holds can be told."""
    if _glibc():
        ctypes.CDLL(None).malloc_trim(0)


def forget_peak() -> float:
    """Takes what is held now for the most that was ever held, and says what that is, in MiB."""
    with suppress(OSError):  # no such file
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> float:
    """The most that the process has held since `forget_peak`, in MiB; not a number where that cannot be told."""
    return _status("VmHWM")


def _status(name: str) -> float:
    """A line of /proc/self/status, in MiB."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), float("nan"))


def _glibc() -> bool:
    return platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"
