"""What the Row LSTM and the Diagonal BiLSTM share: state-to-state weights, a learned initial state, the scan."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pixelrnn.nn.raster import to_positions
from pixelrnn.recurrence import Lines, line_lstm


class StateToState(nn.Module):
    """The recurrent half of a line LSTM: gates of the whole map in, hidden states out (paper eq. 3).

    It reads earlier positions only, and so has no mask.

    Args:
        hidden: features h of the LSTM.
        directions: scans D over the image, each with its own weights and initial state.
        taps: earlier positions T that each position reads.
    """

    def __init__(self, hidden: int, *, directions: int, taps: int) -> None:
        super().__init__()
        # Uniform with variance 1/(3·T·h), as PyTorch draws the weights of a convolution with T·h inputs.
        bound = (taps * hidden) ** -0.5
        self.weight = nn.Parameter(torch.empty(directions, taps, hidden, 4 * hidden).uniform_(-bound, bound))
        self.initial = nn.Parameter(torch.zeros(directions, 2, hidden))

    def forward(self, gates: Float[Tensor, "B gates H W"], lines: Lines) -> Float[Tensor, "D N B h"]:
        """Input-to-state gates of all directions, o, f, i, g in each, to hidden states in raster order."""
        directions = self.weight.shape[0]
        return line_lstm(to_positions(gates, directions), self.weight, self.initial, lines)
