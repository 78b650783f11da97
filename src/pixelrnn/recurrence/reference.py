"""The recurrence as it reads in the paper (eq. 3), line by line, under autograd. Any device, any floating type."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pixelrnn.recurrence.lines import Lines


def line_lstm(
    gates: Float[Tensor, "D N B four_h"],
    weight: Float[Tensor, "D T h four_h"],
    initial: Float[Tensor, "D 2 h"],
    lines: Lines,
) -> Float[Tensor, "D N B h"]:
    """See `pixelrnn.recurrence.line_lstm`."""
    directions, _, batch, _ = gates.shape
    order = lines.order.to(gates.device)
    h0, c0 = initial[:, :, None, None].expand(-1, -1, -1, batch, -1).unbind(1)  # each (D, 1, B, h)

    # The positions sorted by line and taken apart once: a slice per step would cost a whole map in its backward.
    input_to_state = torch.split(_pick(gates, order), lines.lengths, dim=1)  # L of (D, n, B, 4h)

    h, c = h0[:, :0], c0[:, :0]  # before the first line there is nothing
    outputs = []
    for x, reads in zip(input_to_state, lines.reads, strict=True):
        reads = reads.to(gates.device)
        h, c = torch.cat([h, h0], dim=1), torch.cat([c, c0], dim=1)  # the last entry stands for all outside the image
        h_taps = torch.stack([_pick(h, reads[:, k]) for k in range(reads.shape[1])], dim=1)  # (D, T, n, B, h)
        c_previous = _pick(c, reads[:, lines.cell])  # (D, n, B, h)

        #   o, f, i = σ(Kss ⊛ h₋ + Kis ⊛ x)      g = tanh(Kss ⊛ h₋ + Kis ⊛ x)
        state_to_state = torch.einsum("dtnbh,dthg->dnbg", h_taps, weight)
        o, f, i, g = (state_to_state + x).chunk(4, dim=-1)
        #   c = f ⊙ c₋ + i ⊙ g                   h = o ⊙ tanh(c)
        c = f.sigmoid() * c_previous + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)

    return _pick(torch.cat(outputs, dim=1), order.argsort(dim=1))


def _pick(states: Float[Tensor, "D N B f"], index: Int[Tensor, "D n"]) -> Float[Tensor, "D n B f"]:
    """The states at the given places, in each direction."""
    return torch.stack([s[places] for s, places in zip(states, index, strict=True)])
