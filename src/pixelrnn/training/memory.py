"""What the process does with memory that it has freed."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>


def keep_freed() -> None:
    """Keeps freed memory in the process, for the next training step to take.

    glibc otherwise returns blocks of over 32 MiB to the kernel as soon as they are freed. The next step gets them back
    page by page, each zeroed: compare *fair, kept* with *fair* in `pixelrnn bench`. Does nothing with another libc.
    """
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        if mallopt(M_MMAP_THRESHOLD, 2**30):  # older versions refuse, and are better left as they are
            mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
