"""How a map is stored. It is (B, f, H, W) to whoever uses it, whatever its strides.

The recurrence wants lines of positions to be slices of memory, and a 1×1 convolution wants to be one product over
(N·B, features). Both are views of a map that is stored *by position*, (H, W, B, f) in memory. A network stores its
image so once (`by_position`). A layer gives a map by position where its input is one, and otherwise a contiguous one.
Values do not depend on the layout.
"""

from jaxtyping import Float
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from pixelrnn.errors import InputError


def to_positions(
    name: str, maps: Float[Tensor, "B f H W"], features: int, like: Tensor | None = None
) -> Float[Tensor, "N B f"]:
    """One row per position p = i·W + j; a view where that is possible.

    Raises InputError unless these are maps with so many features, of the batch and size of another.
    """
    batch, *size = ("B", "H", "W") if like is None else (len(like), *like.shape[2:])
    expected = batch, features, *size
    if maps.ndim != 4 or maps.shape[1] != features or (like is not None and tuple(maps.shape) != expected):
        raise InputError(f"{name} has shape {tuple(maps.shape)}, expected ({', '.join(map(str, expected))})")
    return maps.permute(2, 3, 0, 1).flatten(0, 1)


def to_map(positions: Float[Tensor, "N B g"], like: Float[Tensor, "B f H W"]) -> Float[Tensor, "B g H W"]:
    """The map with these positions, of the size of another and in its layout: a view where that is by position."""
    maps = positions.unflatten(0, like.shape[2:]).permute(2, 3, 0, 1)
    return maps if is_by_position(like) else maps.contiguous()


def by_position(maps: Float[Tensor, "B f H W"]) -> Float[Tensor, "B f H W"]:
    """The same map, stored by position."""
    if has_torch_function_unary(maps):  # what stands for a map while a network is traced (`pixelrnn.sampling.trace`)
        return handle_torch_function(by_position, (maps,), maps)
    return maps.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)


def is_by_position(maps: Float[Tensor, "B f H W"]) -> bool:
    """Whether a map is stored by position, and not as well contiguous, as one feature of one image is."""
    return maps.permute(2, 3, 0, 1).is_contiguous() and not maps.is_contiguous()
