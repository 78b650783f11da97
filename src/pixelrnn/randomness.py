"""Seeds, and the noise of a sampler."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

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


def seed_step(seed: int, step: int) -> None:
    """Seeds PyTorch's own generators for one step of a training, so that its noise follows from seed and step alone."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0]))


def uniform_row(
    width: int, channels: int, batch: int, *, generator: torch.Generator | None, device: torch.device
) -> Float[Tensor, "W C B"]:
    """A number in [0, 1), float64, for each sub-pixel of a row of images, in the order of generation.

    Args:
        width: columns.
        channels: of an image.
        batch: images.
        generator: the source; PyTorch's own for the device where it is None.
        device: where the numbers are wanted, wherever the generator is.
    """
    source = generator.device if generator else device
    return torch.rand(width, channels, batch, dtype=torch.float64, generator=generator, device=source).to(device)
