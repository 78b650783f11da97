"""From logits to probabilities, per channel: a Bernoulli variable if K = 2, otherwise a softmax over K levels.

Nats per image are −log p(x); bits/dim = nats / (ln 2 · C·H·W).
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from pixelrnn.errors import InputError, check_number


def logits_per_channel(levels: int) -> int:
    """The number of a model's logits per channel: one if K = 2, otherwise K. Raises InputError if K is below 2."""
    check_number("levels", levels, least=2)
    return 1 if levels == 2 else levels


def intensities(x: UInt8[Tensor, "*shape"], levels: int, dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """Scales levels 0 to K − 1 to the input of a network, [−1, 1]. Raises InputError if K is below 2."""
    check_number("levels", levels, least=2)
    return x.to(dtype) * (2 / (levels - 1)) - 1


def log_probabilities(logits: Float[Tensor, "B logits ..."]) -> Float[Tensor, "B K ..."]:
    """The log-probability of each level in nats: log σ(∓l) for one logit l, log softmax for K. At least float32.

    Raises:
        InputError: the logits have another shape, or are not floating-point numbers.
    """
    if logits.ndim < 2 or not logits.shape[1] or not logits.is_floating_point():
        raise InputError(f"logits are {logits.dtype} {tuple(logits.shape)}, expected floats (B, logits, …)")
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    if logits.shape[1] == 1:
        return F.logsigmoid(torch.cat([-logits, logits], dim=1))
    return F.log_softmax(logits, dim=1)


def log_prob_map(logits: Float[Tensor, "B logits C H W"], x: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """log p(x_i | all before it) of each sub-pixel of x, in nats.

    Raises:
        InputError: the logits are not floating-point numbers, or their shape does not fit x.
    """
    if logits.shape[:1] + logits.shape[2:] != x.shape:
        raise InputError(f"logits have shape {tuple(logits.shape)}, expected (B, logits, C, H, W) for {tuple(x.shape)}")
    return log_probabilities(logits).gather(1, x.long()[:, None])[:, 0]


def expected(logits: Float[Tensor, "B logits ..."]) -> Float[Tensor, "B ..."]:
    """The expected intensity of each sub-pixel in [0, 1]: level k is k / (K − 1).

    Raises:
        InputError: as in `log_probabilities`.
    """
    probabilities = log_probabilities(logits).exp().movedim(1, -1)
    return probabilities @ torch.linspace(0, 1, probabilities.shape[-1]).to(probabilities)


def draw(
    logits: Float[Tensor, "B logits"], uniform: Float[Tensor, " B"], *, temperature: float = 1.0
) -> UInt8[Tensor, " B"]:
    """Draws a level for each row of logits, by inverting the distribution function at a ``uniform`` number in [0, 1).

    The uniform numbers are float64, on the device that computes. A ``temperature`` below 1 favours likely levels.
    """
    # In float64 like the noise. Logits are log-probabilities up to a constant: 0 and l for a Bernoulli variable.
    of_levels = logits.to(uniform.device).double()
    if logits.shape[1] == 1:
        of_levels = torch.cat([torch.zeros_like(of_levels), of_levels], dim=1)
    # Relative to the largest, which is then 0 at every temperature and cannot overflow.
    probabilities = ((of_levels - of_levels.amax(dim=1, keepdim=True)) / temperature).softmax(dim=1)
    # The last level takes the remaining probability, so rounding in the sum cannot lead beyond it.
    drawn = (uniform[:, None] >= probabilities.cumsum(dim=1)[:, :-1]).sum(dim=1)
    return drawn.to(torch.uint8).to(logits.device)


def bits_per_dim(nats: float, dimensions: int) -> float:
    """Nats per image as bits per sub-pixel; ``dimensions`` is C·H·W. Raises InputError if that is below 1."""
    check_number("dimensions", dimensions, least=1)
    return nats / (math.log(2) * dimensions)
