"""One step of each LSTM (paper eq. 3): its inputs and results, with the shapes of a real layer."""

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pixelrnn.figures import ARROW, BLACK, LIGHT, ORANGE, SKY, WHITE, new_figure
from pixelrnn.nn import DiagonalBiLSTM, RowLSTM
from pixelrnn.ops.lines import LAYERS

BATCH, HIDDEN, SIDE = 16, 32, 28
T = SIDE // 2  # the step that is drawn

Shape = tuple[int, ...]


def shapes(layer: RowLSTM | DiagonalBiLSTM, t: int) -> dict[str, Shape]:
    """The shapes of step t of a layer.

    The map has x (B, 2h, H, W) and Kis ⊛ x (B, D·4h, H, W). The line has h₋ at its taps (D, T, n, B, h), Kss
    (D, T, h, 4h), Kss ⊛ h₋ (D, n, B, 4h), the sum of both terms, and each gate (D, n, B, h), like c and h.
    """
    kernel = layer.state_to_state.weight
    directions, taps, hidden, gates = kernel.shape
    line = (LAYERS[layer.layer](SIDE, SIDE).lengths[t], BATCH)
    return {
        "x": (BATCH, layer.input_to_state.in_channels, SIDE, SIDE),
        "Kis ⊛ x": (BATCH, layer.input_to_state.out_channels, SIDE, SIDE),
        "h₋": (directions, taps, *line, hidden),
        "Kss": (*kernel.shape,),
        "Kss ⊛ h₋": (directions, *line, gates),
        "sum": (directions, *line, gates),
        "gate": (directions, *line, hidden),
    }


def of_row() -> Figure:
    """One row of the Row LSTM."""
    of_step = shapes(RowLSTM(2 * HIDDEN, HIDDEN), T)
    title = f"Row LSTM, one step: row {T} of {SIDE}×{SIDE}, {SIDE} pixels at once"
    return _draw(of_step, title, before=f"row {T - 1}: three neighbours\nof each pixel", cell="straight above")


def of_diagonal() -> Figure:
    """One diagonal of the Diagonal BiLSTM."""
    of_step = shapes(DiagonalBiLSTM(2 * HIDDEN, HIDDEN), T)
    title = f"Diagonal BiLSTM, one step: diagonal {T}, {of_step['gate'][1]} pixels of each direction at once"
    return _draw(of_step, title, before=f"diagonal {T - 1}: the pixel above\nand the pixel beside", cell="beside")


def _draw(of_step: dict[str, Shape], title: str, *, before: str, cell: str) -> Figure:
    times = {name: " × ".join(map(str, shape)) for name, shape in of_step.items()}
    line = f"{'both directions, ' * (of_step['gate'][0] == 2)}{of_step['gate'][1]} pixels"
    left, middle, right = 2.4, 5.0, 7.6
    boxes = (
        (left, 0.9, WHITE, "x, the whole map", f"{times['x']}\nimages, 2h, rows, columns"),
        (right, 0.9, SKY, f"h₋, {before}", f"{times['h₋']}\ndirections, taps, pixels, images, h"),
        (left, 2.9, LIGHT, "Kis ⊛ x, all steps at once", f"{times['Kis ⊛ x']}\nimages, directions · 4h, rows, columns"),
        (right, 2.9, LIGHT, f"Kss ⊛ h₋, Kss {times['Kss']}", f"{times['Kss ⊛ h₋']}\ndirections, pixels, images, 4h"),
        (middle, 4.65, ORANGE, f"their sum on this line: {line}", f"{times['sum']}, cut into four"),
        (left, 6.2, ORANGE, "o, f, i = σ(·)      g = tanh(·)", f"each {times['gate']}"),
        (right, 6.2, SKY, f"c₋, {cell}", times["gate"]),
        (middle, 7.75, ORANGE, "c = f ⊙ c₋ + i ⊙ g      h = o ⊙ tanh(c)", f"each {times['gate']}"),
    )
    outer_left, inner_left, inner_right, outer_right = left + 0.6, middle - 0.8, middle + 0.8, right - 0.6
    arrows = [((left, 1.5), (left, 2.35)), ((right, 1.62), (right, 2.35)), ((inner_left, 5.07), (outer_left, 5.8))]
    for y, below in ((3.46, 4.24), (6.62, 7.34)):
        arrows += [((outer_left, y), (inner_left, below)), ((outer_right, y), (inner_right, below))]
    figure, [[axes]] = new_figure(8.6, 6.8, 1, 1)
    axes.set(xlim=(0, 10), ylim=(8.3, 0), xticks=[], yticks=[])
    axes.set_frame_on(False)
    axes.set_title(title, fontsize=11)
    for x, y, colour, name, shape in boxes:
        text = f"{name}\n{shape}"
        width, height = 4.6, 0.2 + 0.29 * (text.count("\n") + 1)
        axes.add_patch(Rectangle((x - width / 2, y - height / 2), width, height, facecolor=colour, edgecolor=BLACK))
        axes.text(x, y, text, ha="center", va="center", fontsize=9.5, linespacing=1.35)
    for start, end in arrows:
        axes.annotate("", end, start, arrowprops=ARROW)
    return figure
