"""The paper's equations as plain loops in float64, independent of the library. Every layer must equal them.

They use only elementary arithmetic on columns (B,) and (B, h), so autograd gives the gradients.
"""

import torch
from torch import Tensor

State = dict[tuple[int, int], Tensor]


def may_see(mask_type: str, in_feature: int, out_feature: int, di: int, dj: int, channels: int) -> bool:
    """§3.4: True if a weight at offset (di, dj) from the centre is open."""
    if di < 0 or (di == 0 and dj < 0):
        return True
    if di > 0 or dj > 0:
        return False
    a, b = in_feature % channels, out_feature % channels
    return a < b if mask_type == "A" else a <= b


def masked_conv(x: Tensor, weight: Tensor, bias: Tensor, mask_type: str, channels: int, maps: int = 1) -> Tensor:
    """A masked convolution, weight by weight."""
    batch, _, height, width = x.shape
    out_features, in_features, kernel_height, kernel_width = weight.shape
    columns = []
    for o in range(out_features):
        in_map = o % (out_features // maps)
        for i in range(height):
            for j in range(width):
                total = bias[o].expand(batch)
                for u in range(kernel_height):
                    for v in range(kernel_width):
                        di, dj = u - kernel_height // 2, v - kernel_width // 2
                        if not (0 <= i + di < height and 0 <= j + dj < width):
                            continue
                        for f in range(in_features):
                            if may_see(mask_type, f, in_map, di, dj, channels):
                                total = total + weight[o, f, u, v] * x[:, f, i + di, j + dj]
                columns.append(total)
    return torch.stack(columns, dim=1).reshape(batch, out_features, height, width)


def lstm_cell(gates: Tensor, c_previous: Tensor) -> tuple[Tensor, Tensor]:
    """Equation 3, applied to the sum of input-to-state and state-to-state."""
    h = gates.shape[1] // 4
    o, f, i = (1 / (1 + torch.exp(-gates[:, k * h : (k + 1) * h])) for k in range(3))
    g = torch.tanh(gates[:, 3 * h :])
    c = f * c_previous + i * g
    return o * torch.tanh(c), c


def scan(input_to_state: Tensor, weight: Tensor, initial: Tensor, taps: list[tuple[int, int]], cell: int) -> Tensor:
    """An LSTM over the positions of a map, one by one in raster order; `taps` are offsets (rows, columns)."""
    batch, _, height, width = input_to_state.shape
    hidden = initial.shape[1]
    h: State = {}
    c: State = {}
    for i in range(height):
        for j in range(width):
            gates = input_to_state[:, :, i, j]
            for k, (di, dj) in enumerate(taps):
                before = h.get((i + di, j + dj), initial[0].expand(batch, hidden))
                for a in range(hidden):
                    gates = gates + before[:, a : a + 1] * weight[k, a]
            di, dj = taps[cell]
            c_previous = c.get((i + di, j + dj), initial[1].expand(batch, hidden))
            h[i, j], c[i, j] = lstm_cell(gates, c_previous)
    rows = [torch.stack([h[i, j] for j in range(width)], dim=-1) for i in range(height)]
    return torch.stack(rows, dim=-2)


def unmasked(x: Tensor, weight: Tensor) -> Tensor:
    """A 1×1 convolution without mask or bias, weight by weight."""
    terms = [x[:, None, f] * weight[None, :, f] for f in range(x.shape[1])]
    return torch.stack(terms).sum(dim=0)


def row_lstm(x: Tensor, p: dict[str, Tensor], channels: int, condition: Tensor | None = None) -> Tensor:
    """§3.1, with the parameters of a `RowLSTM`."""
    gates = masked_conv(x, p["input_to_state.weight"], p["input_to_state.bias"], "B", channels, maps=4)
    if condition is not None:
        gates = gates + unmasked(condition, p["state_to_state.condition.weight"])
    weight, initial = p["state_to_state.weight"], p["state_to_state.initial"]
    return scan(gates, weight[0], initial[0], [(-1, -1), (-1, 0), (-1, 1)], cell=1)


def diagonal_bilstm(x: Tensor, p: dict[str, Tensor], channels: int, condition: Tensor | None = None) -> Tensor:
    """§3.2, with the parameters of a `DiagonalBiLSTM`: scan, reflect, scan, reflect back, move down, add."""
    bias, kernel = p["input_to_state.bias"], p["input_to_state.weight"]
    weight, initial = p["state_to_state.weight"], p["state_to_state.initial"]
    half = len(bias) // 2
    passes = []
    for d, seen in enumerate((x, x.flip(-1))):
        part = slice(d * half, (d + 1) * half)
        gates = masked_conv(seen, kernel[part], bias[part], "B", channels, maps=4)
        if condition is not None:
            reflected = condition.flip(-1) if d else condition
            gates = gates + unmasked(reflected, p["state_to_state.condition.weight"][part])
        passes.append(scan(gates, weight[d], initial[d], [(-1, 0), (0, -1)], cell=1))
    left, right = passes[0], passes[1].flip(-1)
    moved_down = torch.cat([torch.zeros_like(right[:, :, :1]), right[:, :, :-1]], dim=2)
    return left + moved_down


def part(p: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The parameters under a prefix."""
    return {name.removeprefix(prefix + "."): value for name, value in p.items() if name.startswith(prefix + ".")}


def conv_b(x: Tensor, p: dict[str, Tensor], name: str, channels: int) -> Tensor:
    """A masked convolution of type B with the parameters under a prefix."""
    return masked_conv(x, p[f"{name}.weight"], p[f"{name}.bias"], "B", channels)


def residual_block(
    x: Tensor, p: dict[str, Tensor], layer: str, channels: int, residual: bool, condition: Tensor | None = None
) -> Tensor:
    """§3.3 and figure 5, with the parameters of a `ResidualBlock`."""
    if layer == "pixel-cnn":
        y = conv_b(x.clamp(min=0), p, "transform.0", channels)
        y = conv_b(y.clamp(min=0), p, "transform.1", channels)
        if condition is not None:
            y = y + unmasked(condition, p["condition.weight"])
        y = conv_b(y.clamp(min=0), p, "transform.2", channels)
    else:
        lstm = row_lstm if layer == "row-lstm" else diagonal_bilstm
        y = conv_b(lstm(x, part(p, "transform.0"), channels, condition), p, "transform.1", channels)
    return x + y if residual else y


def output_head(x: Tensor, p: dict[str, Tensor], channels: int) -> Tensor:
    """Table 1, with the parameters of an `OutputHead`: logits (B, K, C, H, W)."""
    y = conv_b(x.clamp(min=0), p, "layers.0", channels)
    y = conv_b(y.clamp(min=0), p, "layers.1", channels)
    return torch.stack([y[:, k::channels] for k in range(channels)], dim=2)


def network(
    x: Tensor,
    p: dict[str, Tensor],
    *,
    layer: str,
    channels: int,
    depth: int,
    residual: bool,
    skip: bool,
    condition: Tensor | None = None,
) -> Tensor:
    """Table 1, with the parameters of a `PixelRNN`, from intensities in [−1, 1]."""
    x = masked_conv(x, p["first.weight"], p["first.bias"], "A", channels)
    skipped: list[Tensor] = []
    for n in range(depth):
        x = residual_block(x, part(p, f"blocks.{n}"), layer, channels, residual, condition)
        if skip:
            skipped.append(conv_b(x, p, f"skips.{n}", channels))
    return output_head(torch.stack(skipped).sum(dim=0) if skip else x, part(p, "head"), channels)
