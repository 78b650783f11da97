"""Use one thread where several would be slower, or would hang."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread(*, when: bool = True) -> Iterator[None]:
    """Limits PyTorch to one thread in this block. For tiny operations, several threads mostly wait for each other.

    On a busy machine, two threads took 50 times as long as one for thousands of tiny operations.
    """
    before = torch.get_num_threads()
    if not when or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


if hasattr(os, "register_at_fork"):
    # A forked child has none of its parent's threads; PyTorch's operations would wait for them forever.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
