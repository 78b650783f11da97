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


class PartGenerator(torch.Generator):
    """A generator for some images of a larger batch: they get the noise that they have in the whole batch.

    Args:
        seed: the seed, as in `generator`.
        first: the place of the first of these images in the whole batch.
        total: the number of images in the whole batch.
    """

    def __new__(cls, seed: int, *, first: int, total: int) -> "PartGenerator":
        return super().__new__(cls)

    def __init__(self, seed: int, *, first: int, total: int) -> None:
        self.manual_seed(seed)
        self.first, self.total = first, total


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
    first, total = (generator.first, generator.total) if isinstance(generator, PartGenerator) else (0, batch)
    every = torch.rand(width, channels, total, dtype=precision, generator=generator, device=source)
    return every[:, :, first : first + batch].to(device).double()
