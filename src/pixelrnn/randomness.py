"""Seeds, and the noise of a sampler."""

import numpy as np
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
    """

    def __new__(cls, seed: int, *, first: int) -> "PartGenerator":
        return super().__new__(cls)

    def __init__(self, seed: int, *, first: int) -> None:
        self.manual_seed(seed)
        self.first = first


class Noise:
    """The noise of a batch of images, row by row. The noise of an image depends on its index, not on the batch size.

    It takes one number from ``generator``, or from PyTorch's own generator if it is None. A later batch from the same
    generator gets other noise.
    """

    def __init__(self, batch: int, *, generator: torch.Generator | None, device: torch.device) -> None:
        source = generator.device if generator else None
        self._key = int(torch.randint(2**63 - 1, (), generator=generator, device=source))
        self._first = generator.first if isinstance(generator, PartGenerator) else 0
        self._batch, self._rows = batch, 0
        self._device = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64

    def row(self, width: int, channels: int) -> Float[Tensor, "W C B"]:
        """Draws a float64 number in [0, 1) for each sub-pixel of the next row."""
        # Philox gives each row its own stream (Salmon et al., 2011). The images take their numbers from it in turn, so
        # those of the first images are the same in a larger batch.
        stream = np.random.Generator(np.random.Philox(key=[self._key, self._rows]))
        self._rows += 1
        numbers = torch.from_numpy(stream.random((self._first + self._batch, width, channels))[self._first :])
        return numbers.permute(1, 2, 0).contiguous().to(self._device)
