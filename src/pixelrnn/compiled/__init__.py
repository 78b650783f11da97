"""C++ for the CPU, built on first use: recurrence (scan.h), 1×1 convolutions (linear.h), sampler (network.h)."""

import torch

from pixelrnn.compiled.build import BuildError, operators

__all__ = ["BuildError", "images_per_slice", "operators"]

MOST_IMAGES = 12
"""That a thread carries: one or two product tiles high, and so few that their rows stay in its cache."""


def images_per_slice(batch: int) -> int:
    """How a batch is divided, so that all threads are busy to the end."""
    threads = torch.get_num_threads()
    rounds = max(1, -(-batch // (threads * MOST_IMAGES)))
    return max(1, -(-batch // (threads * rounds)))
