"""The training loss of a batch as one function that `torch.compile` has compiled.

Guards of the compiler fix the shapes, the precision and the part of the batch that dropout computes. So each step of a
run takes the same code, if its batch has the same size.
"""

from functools import cache
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from pixelrnn.errors import InputError
from pixelrnn.models import ImageModel, MultiScalePixelRNN
from pixelrnn.models.orders import Order
from pixelrnn.sampling.batch import check_images


def nats(
    model: ImageModel,
    x: UInt8[Tensor, "B C H W"],
    *,
    scale: int | None,
    labels: Tensor | None,
    order: Order,
) -> Float[Tensor, ""]:
    """Mean nats per image, −log p(x | order), or the terms of one scale in it.

    On CUDA the next call overwrites the result, and the gradients that its backward pass returns: a CUDA graph owns
    their memory.

    Raises:
        InputError: x, the labels or the order are refused as in the model's `log_prob_map`; or the compilation fails.
    """
    # Compiled code cannot check values, and a tensor of orders would break its graph.
    check_images(x, model.levels, model.channels)
    model.check_labels(labels, len(x))
    turned, given = model._turned(x, order, {"labels": labels})
    if isinstance(order, Tensor):
        given["order"] = order.to(x.device)  # operations on a CPU cannot be in a CUDA graph
    if x.is_cuda:  # the step before may have ended without a backward pass
        torch.compiler.cudagraph_mark_step_begin()
    try:
        # The optimizer of DDP would split the graph, and refuses checkpoints of logits.
        with torch._dynamo.config.patch(optimize_ddp=False):
            return _compiled(x.is_cuda)(model, scale, turned, given)
    except TorchDynamoException as error:
        cause = getattr(error, "inner_exception", error)
        lines = str(cause).splitlines()
        reason = next((line.strip() for line in lines if "error: " in line), lines[0])  # that of the C++ compiler
        raise InputError(f"train.compile failed: {reason}: leave train.compile out to train without it") from error


@cache
def _compiled(is_cuda: bool) -> Any:
    return torch.compile(_nats, fullgraph=True, dynamic=False, mode="reduce-overhead" if is_cuda else None)


def _nats(model: ImageModel, scale: int | None, turned: Tensor, given: dict[str, Any]) -> Float[Tensor, ""]:
    """As `nats`, for images that were turned to raster order."""
    if scale is None:
        terms = model._log_prob_map(turned, **given)
    else:
        assert isinstance(model, MultiScalePixelRNN)
        terms = model._log_prob_map_of_scale(turned, scale, **given)
    return -terms.sum(dim=(1, 2, 3)).mean()
