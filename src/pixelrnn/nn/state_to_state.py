"""What the Row LSTM and the Diagonal BiLSTM share: state-to-state weights, a learned initial state, the scan."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pixelrnn.nn.masked_conv import MaskedConv2d
from pixelrnn.nn.raster import to_map, to_positions
from pixelrnn.recurrence import Lines, line_lstm


class StateToState(nn.Module):
    """The recurrent half of a line LSTM (paper eq. 3). It reads earlier positions only, and so has no mask.

    Args:
        hidden: features h of the LSTM.
        directions: scans D over the image, each with its own weights and initial state.
        taps: earlier positions T that each position reads.
        condition: features of a map that the gates are conditioned on (§3.6), 0 for none.
    """

    def __init__(self, hidden: int, *, directions: int, taps: int, condition: int = 0) -> None:
        super().__init__()
        # Uniform with variance 1/(3·T·h), as PyTorch draws the weights of a convolution with T·h inputs.
        bound = (taps * hidden) ** -0.5
        self.weight = nn.Parameter(torch.empty(directions, taps, hidden, 4 * hidden).uniform_(-bound, bound))
        self.initial = nn.Parameter(torch.zeros(directions, 2, hidden))
        # The unmasked 1×1 convolution of §3.6: the condition is no part of the image that is generated.
        self.condition = nn.Conv2d(condition, directions * 4 * hidden, 1, bias=False) if condition else None

    def forward(
        self,
        x: Float[Tensor, "B F H W"],
        input_to_state: MaskedConv2d,
        lines: Lines,
        condition: Float[Tensor, "B c H W"] | None = None,
    ) -> Float[Tensor, "B h H W"]:
        """From a map to the hidden states, all directions added.

        Args:
            x: the map.
            input_to_state: the convolution whose gates o, f, i, g of every direction the states are added to.
            lines: of the layer, for the map's size.
            condition: the map that the layer is conditioned on.
        """
        positions = to_positions(x)
        if condition is not None:
            positions = torch.cat([positions, to_positions(condition)], dim=2)
        states = line_lstm(positions, *self._weights(input_to_state, lines), lines)
        return to_map(states, lines.height, lines.width)

    def _weights(self, input_to_state: MaskedConv2d, lines: Lines) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Kis, its bias, Kss and the initial states, as `line_lstm` wants them."""
        directions, _, _, gates = self.weight.shape
        kernel, centre = input_to_state.masked_weight, input_to_state.margin[1]
        taps = torch.stack([kernel[:, :, 0, centre + dj] for _, dj in lines.inputs[0]])  # (S, D·4h, F)
        by_direction = taps.unflatten(1, (directions, gates)).permute(1, 0, 3, 2)  # (D, S, F, 4h)
        if self.condition is not None:
            # A product of both maps side by side is the sum of two convolutions. The condition's has the centre alone.
            conditional = self.condition.weight.flatten(1).unflatten(0, (directions, gates)).mT  # (D, c, 4h)
            nothing = torch.zeros_like(conditional)
            at_taps = [conditional if offset == (0, 0) else nothing for offset in lines.inputs[0]]
            by_direction = torch.cat([by_direction, torch.stack(at_taps, dim=1)], dim=2)
        return by_direction, input_to_state.bias.unflatten(0, (directions, gates)), self.weight, self.initial
