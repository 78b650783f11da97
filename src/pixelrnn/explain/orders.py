"""The eight orders of generation: the place of each pixel in each order, from `pixelrnn.models.orders`."""

import torch
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure

from pixelrnn.figures import BLUE, LIGHT, draw_cells, new_figure
from pixelrnn.models.orders import turn_back

HEIGHT, WIDTH = 4, 5
FIRST = ("top left", "bottom right", "top right", "bottom left")


def of_grid() -> Figure:
    """Draws the place of each pixel of a small image in every order, 1 for the first. Later pixels are darker."""
    figure, axes = new_figure(9.6, 4.6, 2, 4)
    colours = LinearSegmentedColormap.from_list("places", [LIGHT, BLUE])
    for order, cell in enumerate(cell for row in axes for cell in row):
        size = (HEIGHT, WIDTH) if order < 4 else (WIDTH, HEIGHT)
        places = turn_back(torch.arange(HEIGHT * WIDTH).reshape(1, *size), order)[0].tolist()
        shown = [[to_hex(colours(0.6 * place / (HEIGHT * WIDTH - 1))) for place in row] for row in places]
        draw_cells(cell, shown, [[str(place + 1) for place in row] for row in places])
        along = "rows" if order < 4 else "columns"
        cell.set_title(f"{order}: by {along} from the {FIRST[order % 4]}", fontsize=9)
    return figure
