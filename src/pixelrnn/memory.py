"""What the process does with memory that it has freed."""

import ctypes
import platform

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


def _glibc() -> bool:
    return platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"
