"""Eight orders of generation: raster order under each symmetry of the image grid.

A model generates an image x in order k by generating ``turn(x, k)`` in raster order:

    order   turned image                        the order of the pixels of x
    0       x itself                            by rows from the top left: raster order
    1       x rotated by 180°                   by rows from the bottom right
    2       x with left and right swapped       by rows from the top right
    3       x with top and bottom swapped       by rows from the bottom left
    4 to 7  as 0 to 3, then transposed          by columns from the same corners

The first 2, the first 4 and all 8 orders are groups: turning an image twice gives another of these orders.
`pixelrnn explain orders` draws them.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from pixelrnn.errors import InputError, check_number
from pixelrnn.sampling.batch import described

Order = int | Int[Tensor, " B"]
"""The order of all images of a batch, or of each image."""

Sequence = Callable[[int, int], Int[Tensor, " n"]]

ORDERS = (1, 2, 4, 8)
"""The numbers of orders that a model may have: the first of the table above."""


def turn(x: Tensor, order: Order) -> Tensor:
    """Turns images or maps (B, …, H, W) so that raster order visits their pixels in ``order``.

    A transposed order gives (B, …, W, H). If each image has an order of its own and the images are not square, all of
    the orders must be transposed, or none.

    Raises:
        InputError: orders of both kinds for images that are not square.
    """
    if isinstance(order, int):
        # docs: begin turn
        flipped = [[], [-2, -1], [-1], [-2]][order % 4]  # of the dimensions (B, …, H, W)
        turned = x.flip(flipped) if flipped else x
        if order >= 4:
            turned = turned.mT  # swaps rows and columns
        # docs: end turn
        return turned
    return _stack([turn(image, k) for image, k in zip(x, order.tolist(), strict=True)])


def turn_back(x: Tensor, order: Order) -> Tensor:
    """Undoes `turn`."""
    if isinstance(order, int):
        return turn(x.mT, order - 4).contiguous() if order >= 4 else turn(x, order)  # a flip undoes itself
    return _stack([turn_back(image, k) for image, k in zip(x, order.tolist(), strict=True)])


def _stack(images: list[Tensor]) -> Tensor:
    if len({image.shape for image in images}) > 1:
        raise InputError("the images are not square: choose orders below 4 for all of them, or above 3 for all")
    return torch.stack(images)


def check_order(order: Any, batch: int, orders: int) -> None:
    """Raises InputError unless the order is one of the first ``orders``, or a tensor of these for each image."""
    if isinstance(order, str):
        raise InputError(
            f"order is {order!r}, expected a whole number; only log_prob and log_prob_by_class take 'mixture'"
        )
    if not isinstance(order, Tensor):
        check_number("order", order, least=0, most=orders - 1)
    elif tuple(order.shape) != (batch,) or order.is_floating_point() or order.dtype == torch.bool:
        raise InputError(f"order: {described(order)}, expected a whole number, or whole numbers ({batch},)")
    elif wrong := order[(order < 0) | (order >= orders)].tolist():
        raise InputError(f"order holds {wrong[0]}, expected 0 to {orders - 1}")


def spread(k: Int[Tensor, " B"], orders: int, size: tuple[int, int]) -> Int[Tensor, " B"]:
    """An order for each image of a batch from any whole numbers k: k mod ``orders``, if the images are square.

    Otherwise the first image decides whether the orders are transposed.
    """
    order = k % orders
    return order if size[0] == size[1] else order[:1] // 4 * 4 + order % 4


def best(known: Bool[Tensor, "B H W"], orders: int, sequence: Sequence) -> Int[Tensor, " B"]:
    """The order in which the most known pixels precede the unknown ones, for each mask: the first of several.

    We count pairs of a known pixel and an unknown one that is drawn later (`highest`). ``sequence`` maps a height and a
    width to the positions of a turned image, numbered row by row, as the model draws them.
    """
    pairs = torch.stack([_pairs(turn(known, k), sequence) for k in range(orders)])
    return highest(pairs, (known.shape[1], known.shape[2]))


def highest(scores: Shaped[Tensor, "orders B"], size: tuple[int, int]) -> Int[Tensor, " B"]:
    """The order with the highest score, for each image of a batch: the first of several.

    If the images of this size are not square, either all orders are transposed or none, whichever scores more in total.
    """
    if len(scores) == 8 and size[0] != size[1]:
        halves = scores.unflatten(0, (2, 4))
        transposed = int(halves.amax(dim=1).sum(dim=1).argmax())
        return halves[transposed].argmax(dim=0) + 4 * transposed
    return scores.argmax(dim=0)


def _pairs(known: Bool[Tensor, "B H W"], sequence: Sequence) -> Int[Tensor, " B"]:
    """The number of pairs of a known pixel and an unknown one that is drawn later."""
    drawn = known.flatten(1)[:, sequence(*known.shape[1:]).to(known.device)]
    return (drawn.cumsum(dim=1) * ~drawn).sum(dim=1)
