"""Seeds."""

import torch

from pixelrnn.errors import InputError


def check_seed(seed: int, name: str) -> int:
    """The seed, if every generator takes it.

    Raises:
        InputError: it is below 0 or above 2³² − 1; the message calls it ``name``.
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"{name} must be from 0 to {2**32 - 1}, got {seed}")
    return seed


def generator(seed: int, name: str = "seed") -> torch.Generator:
    """A source of random numbers on the CPU; what it gives does not depend on the device of a model.

    Raises:
        InputError: as `check_seed`.
    """
    return torch.Generator().manual_seed(check_seed(seed, name))
