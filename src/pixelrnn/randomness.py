"""Seeds, and the noise of a sampler."""

import torch
from jaxtyping import Float
from torch import Tensor

from pixelrnn.errors import check_number


def generator(seed: int, name: str = "seed") -> torch.Generator:
    """A generator of random numbers on the CPU. Its numbers do not depend on the device of a model.

    Raises:
        InputError: the seed is below 0 or above 2³² − 1; the message calls it ``name``.
    """
    check_number(name, seed, least=0, most=2**32 - 1)
    return torch.Generator().manual_seed(seed)


def uniform_row(
    width: int, channels: int, batch: int, *, generator: torch.Generator | None, device: torch.device
) -> Float[Tensor, "W C B"]:
    """Draws a float64 number in [0, 1) for each sub-pixel of a row of images, in the order of generation.

    The numbers come from ``generator``, or from PyTorch's own generator of the device if it is None. MPS has no
    float64: numbers for it stay on the CPU, and its own generator draws them in float32.
    """
    device = torch.device("cpu") if device.type == "mps" else device
    source = generator.device if generator else device
    precision = torch.float32 if source.type == "mps" else torch.float64
    return torch.rand(width, channels, batch, dtype=precision, generator=generator, device=source).to(device).double()
