"""Where to compute."""

from typing import Literal

import torch

from pixelrnn.errors import InputError

Device = Literal["auto", "cpu", "cuda"]


def resolve(device: Device) -> torch.device:
    """The device of that name; ``"auto"`` takes a GPU if there is one.

    Raises:
        InputError: it is not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda cannot be used here: PyTorch finds no GPU")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
