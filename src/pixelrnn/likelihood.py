"""From logits to probabilities: a Bernoulli variable where K = 2, otherwise a softmax over K levels, per channel.

Nats per image are −log p(x); bits/dim = nats / (ln 2 · C·H·W).
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from pixelrnn.errors import InputError, check_number


def logits_per_channel(levels: int) -> int:
    """How many logits a model gives per channel: one where K = 2, otherwise K. Raises InputError where K is below 2."""
    check_number("levels", levels, least=2)
    return 1 if levels == 2 else levels


def intensities(x: UInt8[Tensor, "*shape"], levels: int, dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """Levels 0 to K − 1 scaled to [−1, 1], which is what a network sees. Raises InputError for K below 2."""
    check_number("levels", levels, least=2)
    return x.to(dtype) * (2 / (levels - 1)) - 1


def log_probabilities(logits: Float[Tensor, "B logits ..."]) -> Float[Tensor, "B K ..."]:
    """The log-probability of each level, in nats: log σ(∓l) of one logit, log softmax of K. At least float32.

    Raises:
        InputError: the logits have another shape, or no floating type.
    """
    if logits.ndim < 2 or not logits.shape[1] or not logits.is_floating_point():
        raise InputError(f"logits are {logits.dtype} {tuple(logits.shape)}, expected floating numbers (B, logits, …)")
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    if logits.shape[1] == 1:
        return F.logsigmoid(torch.cat([-logits, logits], dim=1))
    return F.log_softmax(logits, dim=1)


def log_prob_map(logits: Float[Tensor, "B logits C H W"], x: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """The nats of each sub-pixel of x, log p(x_i | all before it).

    Raises:
        InputError: the logits have no floating type, or those of x are not among them.
    """
    if logits.shape[:1] + logits.shape[2:] != x.shape:
        raise InputError(f"the logits have shape {tuple(logits.shape)}, which does not fit images {tuple(x.shape)}")
    return log_probabilities(logits).gather(1, x.long()[:, None])[:, 0]


def draw(
    logits: Float[Tensor, "B logits"], uniform: Float[Tensor, " B"], *, temperature: float = 1.0
) -> UInt8[Tensor, " B"]:
    """One level for each row of logits, by inverting the distribution function at a ``uniform`` number in [0, 1).

    The numbers are float64, on the device that shall compute this. A ``temperature`` below 1 favours likely levels.
    """
    # In float64, where the noise is; logits are log-probabilities but for a constant: 0 and l of a Bernoulli variable.
    of_levels = logits.to(uniform.device).double()
    if logits.shape[1] == 1:
        of_levels = torch.cat([torch.zeros_like(of_levels), of_levels], dim=1)
    # Against the largest, so that the lowest temperature leaves it standing.
    probabilities = ((of_levels - of_levels.amax(dim=1, keepdim=True)) / temperature).softmax(dim=1)
    # The last level is what remains, so rounding in the sum cannot lead past it.
    drawn = (uniform[:, None] >= probabilities.cumsum(dim=1)[:, :-1]).sum(dim=1)
    return drawn.to(torch.uint8).to(logits.device)


def bits_per_dim(nats: float, dimensions: int) -> float:
    """Nats per image as bits per sub-pixel; ``dimensions`` is C·H·W. Raises InputError where that is below 1."""
    check_number("dimensions", dimensions, least=1)
    return nats / (math.log(2) * dimensions)
