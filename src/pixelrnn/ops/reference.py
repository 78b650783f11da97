"""The operators as the paper writes them, under autograd. Any device, any floating type."""

from itertools import chain

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from pixelrnn.ops.lines import Lines


def line_lstm(
    x: Float[Tensor, "N B F"],
    input_to_state: Float[Tensor, "D S F four_h"],
    bias: Float[Tensor, "D four_h"],
    state_to_state: Float[Tensor, "D T h four_h"],
    initial: Float[Tensor, "D 2 h"],
    lines: Lines,
) -> Float[Tensor, "N B h"]:
    """The recurrence of eq. 3, line by line; see `pixelrnn.ops.line_lstm`."""
    batch = x.shape[1]
    gates = input_term(x, input_to_state, bias, lines).permute(2, 0, 1, 3)

    # Sort the positions by line and split once: the backward pass of a slice per step would fill a whole map each time.
    order = torch.tensor([list(chain(*scan)) for scan in lines.positions], device=x.device)  # (D, N)
    terms = torch.split(_pick(gates, order), lines.lengths, dim=1)  # L of (D, n, B, 4h)

    # One state per place, one more beyond each end; places without a position hold the initial state.
    h0, c0 = initial[:, :, None, None].expand(-1, -1, lines.extent + 2, batch, -1).unbind(1)
    h, c = h0, c0
    outputs = []
    for first, x_term in zip(lines.first, terms, strict=True):
        n, begin = x_term.shape[1], first + 1
        # docs: begin step
        taps = [slice(begin + shift, begin + shift + n) for shift in lines.shifts]
        h_taps = torch.stack([h[:, tap] for tap in taps], dim=1)  # (D, T, n, B, h)

        #   o, f, i = σ(Kss ⊛ h₋ + Kis ⊛ x)      g = tanh(Kss ⊛ h₋ + Kis ⊛ x)
        h_term = torch.einsum("dtnbh,dthg->dnbg", h_taps, state_to_state)
        o, f, i, g = (h_term + x_term).chunk(4, dim=-1)
        #   c = f ⊙ c₋ + i ⊙ g                   h = o ⊙ tanh(c)
        c_line = f.sigmoid() * c[:, taps[lines.cell]] + i.sigmoid() * g.tanh()
        h_line = o.sigmoid() * c_line.tanh()
        # docs: end step

        h = torch.cat([h0[:, :begin], h_line, h0[:, begin + n :]], dim=1)
        c = torch.cat([c0[:, :begin], c_line, c0[:, begin + n :]], dim=1)
        outputs.append(h_line)

    return add_directions(_pick(torch.cat(outputs, dim=1), order.argsort(dim=1)), lines)


def input_term(
    x: Float[Tensor, "N B F"],
    input_to_state: Float[Tensor, "D S F four_h"],
    bias: Float[Tensor, "D four_h"],
    lines: Lines,
) -> Float[Tensor, "N B D four_h"]:
    """Kis ⊛ x plus its bias: one product for all positions and directions."""
    term = torch.addmm(bias.flatten(), input_taps(x, lines), input_matrix(input_to_state))
    return term.view(*x.shape[:2], *bias.shape)


def input_taps(x: Float[Tensor, "N B F"], lines: Lines) -> Float[Tensor, "rows SF"]:
    """The features that the input-to-state term of each position and image reads; zero outside the image."""
    nothing = x.new_zeros(x.shape[2])
    (offsets,) = set(lines.inputs)  # all directions read the same
    seen = [lines.neighbours(x, at, nothing) for at in offsets]
    return (torch.cat(seen, dim=-1) if len(seen) > 1 else seen[0]).flatten(0, 1)


def input_matrix(input_to_state: Float[Tensor, "D S F four_h"]) -> Float[Tensor, "SF columns"]:
    """Kis as one matrix: a block of rows per tap, a block of columns per direction."""
    return input_to_state.permute(1, 2, 0, 3).flatten(2).flatten(0, 1)


def add_directions(states: Float[Tensor, "D N B h"], lines: Lines) -> Float[Tensor, "N B h"]:
    """The output of the layer: moves each direction by its offset, filling with zeros, and adds them."""
    nothing = states.new_zeros(states.shape[3])
    return torch.stack(
        [lines.neighbours(s, (-di, -dj), nothing) for s, (di, dj) in zip(states, lines.outputs, strict=True)]
    ).sum(dim=0)


def _pick(states: Float[Tensor, "D N B f"], index: Int[Tensor, "D n"]) -> Float[Tensor, "D n B f"]:
    """The states at the given indices, for each direction."""
    return torch.stack([s[places] for s, places in zip(states, index, strict=True)])


def conv(
    x: Float[Tensor, "N B F"],
    weight: Float[Tensor, "G F rows columns"],
    bias: Float[Tensor, " G"],
    plus: Float[Tensor, "N B G"] | None,
    height: int,
    relu: bool,
) -> Float[Tensor, "N B G"]:
    """The masked convolution; see `pixelrnn.ops.conv`."""
    x = F.relu(x) if relu else x
    _, _, rows, columns = weight.shape
    if not x.numel() or (rows == columns == 1 and x.is_contiguous()):  # one product over all positions and images
        y = F.linear(x, weight[:, :, rows // 2, columns // 2], bias)
    else:
        maps = x.unflatten(0, (height, -1)).permute(2, 3, 0, 1)
        y = F.conv2d(maps, weight, bias, padding=(rows // 2, columns // 2)).permute(2, 3, 0, 1).flatten(0, 1)
    return y if plus is None else y + plus
