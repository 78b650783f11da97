"""What a pixel sees through one layer of each kind, as the page shows it."""

from functools import cache

from pixelrnn.explain.context import NAMES, of_random
from pixelrnn.nn import LayerKind

SIZE = (15, 19)
START = (12, 9)
"""The pixel whose contexts the page opens with."""


@cache
def seen(layer: LayerKind, at: tuple[int, int]) -> list[int]:
    """The pixels that the pixel ``at`` sees, numbered row by row.

    Args:
        layer: the kind of the one layer.
        at: row and column.
    """
    pixels: list[int] = of_random(layer, 1, SIZE, at).array.ravel().nonzero()[0].tolist()
    return pixels


def contexts(at: list[int]) -> list[list[int]]:
    """The pixels that a pixel, [row, column], sees through each kind of layer."""
    return [seen(layer, (at[0], at[1])) for layer in NAMES]
