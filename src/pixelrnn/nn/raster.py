"""Between maps (B, features, H, W) and positions in raster order, outermost, batch inside (D, N, B, features)."""

from jaxtyping import Float
from torch import Tensor


def to_positions(maps: Float[Tensor, "B features H W"], directions: int) -> Float[Tensor, "D N B f"]:
    """Takes the D·f features of a map apart into D directions of f, one row per position p = i·W + j."""
    batch, features, height, width = maps.shape
    split = maps.reshape(batch, directions, features // directions, height * width)
    return split.permute(1, 3, 0, 2)


def to_map(positions: Float[Tensor, "N B f"], height: int, width: int) -> Float[Tensor, "B f H W"]:
    """Lays the positions of one direction out as a map again."""
    n, batch, features = positions.shape
    return positions.permute(1, 2, 0).reshape(batch, features, height, width)
