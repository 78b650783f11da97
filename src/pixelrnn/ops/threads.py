"""PyTorch's threads, where they would do harm."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread(*, when: bool = True) -> Iterator[None]:
    """Computes on one thread in this block: several would spend their time waiting for each other.

    On a busy machine two threads that share thousands of tiny operations took 50 times as long as one.
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
    # A forked child has none of its parent's threads, and PyTorch's own operations would wait for them for ever.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
