"""How a map is stored: its positions in raster order, outermost, the batch inside, features innermost.

A map is (B, f, H, W) to whoever uses it, whatever its strides. The recurrence wants lines of positions to be slices of
memory, and a 1×1 convolution wants to be one product over (N·B, features). Both are views of a map whose storage is
(H, W, B, f), and elementwise operations keep the storage of what they are given, so that through a whole network of
LSTM layers nothing is rearranged.
"""

from jaxtyping import Float
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary


def to_positions(maps: Float[Tensor, "B f H W"]) -> Float[Tensor, "N B f"]:
    """One row per position p = i·W + j; a view where the map is stored by position."""
    return maps.permute(2, 3, 0, 1).flatten(0, 1)


def to_map(positions: Float[Tensor, "N B f"], height: int, width: int) -> Float[Tensor, "B f H W"]:
    """The map with these positions, stored by position: a view of them."""
    return positions.unflatten(0, (height, width)).permute(2, 3, 0, 1)


def store_by_position(maps: Float[Tensor, "B f H W"]) -> Float[Tensor, "B f H W"]:
    """The same map, stored by position."""
    if has_torch_function_unary(maps):  # a proxy of `torch.fx`, whose shape is not known
        return handle_torch_function(store_by_position, (maps,), maps)
    return to_map(to_positions(maps).contiguous(), *maps.shape[2:])


def is_stored_by_position(maps: Float[Tensor, "B f H W"]) -> bool:
    """Whether it is, and not as well in the ordinary way, as a map of one image and one feature is."""
    return maps.permute(2, 3, 0, 1).is_contiguous() and not maps.is_contiguous()
