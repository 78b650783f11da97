"""The memory layout of maps. The shape of a map is always (B, f, H, W); only its strides differ.

The recurrence reads lines of positions as slices of memory, and a 1×1 convolution is one product over (N·B, features).
Both are views of a map that is stored *by position*, as (H, W, B, f) in memory. A network stores its image this way
once (`by_position`). A layer keeps the layout of an input by position; its output is contiguous otherwise. Values do
not depend on the layout.
"""

from jaxtyping import Float
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from pixelrnn.errors import InputError


def to_positions(
    name: str, maps: Float[Tensor, "B f H W"], features: int, like: Tensor | None = None
) -> Float[Tensor, "N B f"]:
    """Returns the map with one row per position p = i·W + j, as a view if possible.

    Raises InputError unless the map has this number of features, and the batch and size of ``like``.
    """
    batch, *size = ("B", "H", "W") if like is None else (like.shape[0], *like.shape[2:])
    expected = batch, features, *size
    if maps.ndim != 4 or maps.shape[1] != features or (like is not None and tuple(maps.shape) != expected):
        raise InputError(f"{name} has shape {tuple(maps.shape)}, expected ({', '.join(map(str, expected))})")
    return maps.permute(2, 3, 0, 1).flatten(0, 1)


def to_map(positions: Float[Tensor, "N B g"], like: Float[Tensor, "B f H W"]) -> Float[Tensor, "B g H W"]:
    """Returns positions as a map with the size and layout of ``like``; a view if that is stored by position."""
    maps = positions.unflatten(0, like.shape[2:]).permute(2, 3, 0, 1)
    return maps if is_by_position(like) else maps.contiguous()


def by_position(maps: Float[Tensor, "B f H W"]) -> Float[Tensor, "B f H W"]:
    """Returns the same map, stored by position."""
    if has_torch_function_unary(maps):  # a map of `pixelrnn.sampling.trace`, without values
        return handle_torch_function(by_position, (maps,), maps)
    return maps.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)


def is_by_position(maps: Float[Tensor, "B f H W"]) -> bool:
    """True if a map is stored by position and is not contiguous too, as one feature of one image would be."""
    return maps.permute(2, 3, 0, 1).is_contiguous() and not maps.is_contiguous()
