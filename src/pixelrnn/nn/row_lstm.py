"""The Row LSTM (paper §3.1).

A line is a row: all its positions are computed at once from the row above.

    o, f, i = σ(Kss ⊛ h₋ + Kis ⊛ x)      g = tanh(Kss ⊛ h₋ + Kis ⊛ x)
    c = f ⊙ c₋ + i ⊙ g                   h = o ⊙ tanh(c)

Kis ⊛ x, the input-to-state term, is a masked 3×1 convolution along the row. Kss ⊛ h₋, the state-to-state term, is an
unmasked 3×1 convolution over the row above; c₋ is the cell straight above. What one position sees is the triangle above
it.
"""

from jaxtyping import Float
from torch import Tensor, nn

from pixelrnn.nn.masked_conv import MaskedConv2d
from pixelrnn.nn.state_to_state import StateToState
from pixelrnn.recurrence import row_lines


class RowLSTM(nn.Module):
    """An LSTM that scans an image row by row, each row at once (§3.1).

    Maps (B, in_features, H, W) to (B, hidden, H, W), for any H and W. The output at a pixel depends on the input at
    that pixel (its own channel and the ones before), at the pixel to the left, and at the triangle above: d rows
    up, the columns from j − d − 1 to j + d. A neighbour outside the image holds the learned initial state.

    Args:
        in_features: features of the input map, at least ``channels``.
        hidden: features h of the LSTM, at least ``channels``.
        channels: image channels C; feature k belongs to channel k mod C.
        condition: features c of a map that the gates are conditioned on (§3.6), 0 for none. What an output sees of it
            is not masked.

    Raises:
        InputError: fewer features than channels.
    """

    def __init__(self, in_features: int, hidden: int, *, channels: int = 1, condition: int = 0) -> None:
        super().__init__()
        self.input_to_state = MaskedConv2d("B", in_features, 4 * hidden, (1, 3), channels=channels, maps=4)
        self.state_to_state = StateToState(hidden, directions=1, taps=3, condition=condition)

    def forward(
        self, x: Float[Tensor, "B in_features H W"], condition: Float[Tensor, "B c H W"] | None = None
    ) -> Float[Tensor, "B hidden H W"]:
        return self.state_to_state(x, self.input_to_state, row_lines(*x.shape[-2:]), condition)
