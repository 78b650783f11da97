"""Computes a Row LSTM row by row and a Diagonal BiLSTM diagonal by diagonal, by hand. Both equal the layers.

python examples/row_and_diagonal.py
"""

import torch
from torch import Tensor

from pixelrnn.nn import DiagonalBiLSTM, RowLSTM

B, F, H, W, h = 2, 6, 5, 7, 4  # images, features of the map, height, width, features of the LSTM


# docs: begin equation
def lstm(gates: Tensor, c_before: Tensor) -> tuple[Tensor, Tensor]:
    """Returns h and c for all pixels of a line at once, from the sum Kis ⊛ x + Kss ⊛ h₋ and the cell states c₋."""
    o, f, i, g = gates.chunk(4, dim=-1)
    c = f.sigmoid() * c_before + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c
    # docs: end equation


# docs: begin row
def row_lstm(layer: RowLSTM, x: Tensor) -> Tensor:
    """Maps (B, F, H, W) to (B, h, H, W), one row per step."""
    x_term = layer.input_to_state(x).permute(0, 2, 3, 1)  # (B, H, W, 4h): a convolution, for all rows at once
    weight = layer.state_to_state.weight[0]  # (3, h, 4h): one matrix per neighbour
    h0, c0 = layer.state_to_state.initial[0]  # the states of neighbours outside the image

    h_above, c_above = h0.expand(B, W, h), c0.expand(B, W, h)
    outside = h0.expand(B, 1, h)
    rows = []
    for i in range(H):
        padded = torch.cat([outside, h_above, outside], dim=1)  # (B, W + 2, h)
        left, middle, right = padded[:, :-2], padded[:, 1:-1], padded[:, 2:]  # each (B, W, h)
        gates = x_term[:, i] + left @ weight[0] + middle @ weight[1] + right @ weight[2]  # (B, W, 4h)
        h_above, c_above = lstm(gates, c_above)  # the whole row
        rows.append(h_above)
        print(f"  row {i}: {W} pixels, gates {tuple(gates.shape)}")
    return torch.stack(rows, dim=1).permute(0, 3, 1, 2)
    # docs: end row


# docs: begin diagonal
def diagonal_lstm(x_term: Tensor, weight: Tensor, initial: Tensor) -> Tensor:
    """Maps (B, H, W, 4h) to (B, H, W, h) in one direction, one diagonal i + j = t per step."""
    h0, c0 = initial
    # The states of the whole image, with a row above it and a column to its left that hold the initial state.
    hidden, cell = h0.repeat(B, H + 1, W + 1, 1), c0.repeat(B, H + 1, W + 1, 1)
    for t in range(H + W - 1):
        i = torch.arange(max(0, t - W + 1), min(H, t + 1))  # the rows in which the diagonal has a pixel
        j = t - i
        above, left = hidden[:, i, j + 1], hidden[:, i + 1, j]  # each (B, n, h): both lie on the previous diagonal
        gates = x_term[:, i, j] + above @ weight[0] + left @ weight[1]  # (B, n, 4h)
        hidden[:, i + 1, j + 1], cell[:, i + 1, j + 1] = lstm(gates, cell[:, i + 1, j])  # the whole diagonal
        print(f"  diagonal {t}: {len(i)} pixels, gates {tuple(gates.shape)}")
    return hidden[:, 1:, 1:]
    # docs: end diagonal


# docs: begin bilstm
def diagonal_bilstm(layer: DiagonalBiLSTM, x: Tensor) -> Tensor:
    """Maps (B, F, H, W) to (B, h, H, W): two directions, the second one mirrored and moved down one row."""
    x_term = layer.input_to_state(x).permute(0, 2, 3, 1)  # (B, H, W, 2·4h)
    first, second = x_term.chunk(2, dim=-1)
    weight, initial = layer.state_to_state.weight, layer.state_to_state.initial

    output = diagonal_lstm(first, weight[0], initial[0])
    mirrored = diagonal_lstm(second.flip(2), weight[1], initial[1]).flip(2)
    # The mirror's state at (i, j) has seen the later pixel (i, j + 1). So (i, j) gets its state at (i − 1, j).
    shifted = torch.cat([torch.zeros(B, 1, W, h), mirrored[:, :-1]], dim=1)
    return (output + shifted).permute(0, 3, 1, 2)
    # docs: end bilstm


if __name__ == "__main__":
    torch.manual_seed(0)
    x = torch.randn(B, F, H, W)
    with torch.no_grad():
        row, diagonal = RowLSTM(F, h), DiagonalBiLSTM(F, h)
        for layer in (row, diagonal):
            torch.nn.init.normal_(layer.state_to_state.initial)  # zero before training
        print(f"Row LSTM, x {tuple(x.shape)}")
        torch.testing.assert_close(row_lstm(row, x), row(x))
        print(f"Diagonal BiLSTM, x {tuple(x.shape)}")
        torch.testing.assert_close(diagonal_bilstm(diagonal, x), diagonal(x))
    print(f"both equal the layers, {tuple(row(x).shape)}")
