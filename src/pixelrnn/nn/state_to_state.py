"""What the Row LSTM and the Diagonal BiLSTM share: state-to-state weights, a learned initial state, the scan."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pixelrnn.incremental import Program
from pixelrnn.nn.masked_conv import MaskedConv2d
from pixelrnn.nn.raster import to_map, to_positions
from pixelrnn.recurrence import Lines, line_lstm


class StateToState(nn.Module):
    """The recurrent half of a line LSTM (paper eq. 3). It reads earlier positions only, and so has no mask.

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

    def forward(
        self, x: Float[Tensor, "B F H W"], input_to_state: MaskedConv2d, lines: Lines
    ) -> Float[Tensor, "B h H W"]:
        """From a map to the hidden states, all directions added.

        Args:
            x: the map.
            input_to_state: the convolution whose gates o, f, i, g of every direction the states are added to.
            lines: of the layer, for the map's size.
        """
        states = line_lstm(to_positions(x), *self._weights(input_to_state, lines), lines)
        return to_map(states, lines.height, lines.width)

    def incremental(self, program: Program, x: int, input_to_state: MaskedConv2d, lines: Lines) -> int:
        """The same as a step of a program, of maps instead of tensors."""
        return program.line_lstm(x, *self._weights(input_to_state, lines), lines)

    def _weights(self, input_to_state: MaskedConv2d, lines: Lines) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Kis, its bias, Kss and the initial states, as `line_lstm` wants them."""
        directions, _, _, gates = self.weight.shape
        kernel, centre = input_to_state.masked_weight, input_to_state.margin[1]
        taps = torch.stack([kernel[:, :, 0, centre + dj] for _, dj in lines.inputs[0]])  # (S, D·4h, F)
        by_direction = taps.unflatten(1, (directions, gates)).permute(1, 0, 3, 2)  # (D, S, F, 4h)
        return by_direction, input_to_state.bias.unflatten(0, (directions, gates)), self.weight, self.initial
