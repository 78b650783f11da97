"""The Diagonal BiLSTM (paper §3.2).

A line is a diagonal i + j = t: all its positions are computed at once from the diagonal before.

    o, f, i = σ(Kss ⊛ h₋ + Kis ⊛ x)      g = tanh(Kss ⊛ h₋ + Kis ⊛ x)
    c = f ⊙ c₋ + i ⊙ g                   h = o ⊙ tanh(c)

Kis ⊛ x is a masked 1×1 convolution. Kss ⊛ h₋ reads the pixel above and the pixel to the left, which in the paper's
skewed map are two neighbours of one column; c₋ is the cell to the left.

The second direction is the mirror image, with its own weights: it reads the pixel above and the pixel to the *right*.
Its state at (i, j) has seen (i, j + 1), which comes later, so its output is moved down one row before it is added:
(i, j) gets what the mirror saw from (i − 1, j) on. Together the two directions see every earlier pixel.
"""

from jaxtyping import Float
from torch import Tensor, nn

from pixelrnn.nn.masked_conv import MaskedConv2d
from pixelrnn.nn.state_to_state import StateToState
from pixelrnn.recurrence import diagonal_lines


class DiagonalBiLSTM(nn.Module):
    """Two LSTMs that scan an image from its upper corners, each diagonal at once (§3.2).

    Maps (B, in_features, H, W) to (B, hidden, H, W), for any H and W. The output at a pixel depends on the input at
    that pixel (its own channel and the ones before) and at every earlier pixel. A neighbour outside the image holds
    the learned initial state of its direction.

    Args:
        in_features: features of the input map, at least ``channels``.
        hidden: features h of each LSTM, at least ``channels``.
        channels: image channels C; feature k belongs to channel k mod C.
        condition: features c of a map that the gates are conditioned on (§3.6), 0 for none. What an output sees of it
            is not masked.

    Raises:
        InputError: fewer features than channels.
    """

    def __init__(self, in_features: int, hidden: int, *, channels: int = 1, condition: int = 0) -> None:
        super().__init__()
        self.input_to_state = MaskedConv2d("B", in_features, 2 * 4 * hidden, 1, channels=channels, maps=2 * 4)
        self.state_to_state = StateToState(hidden, directions=2, taps=2, condition=condition)

    def forward(
        self, x: Float[Tensor, "B in_features H W"], condition: Float[Tensor, "B c H W"] | None = None
    ) -> Float[Tensor, "B hidden H W"]:
        return self.state_to_state(x, self.input_to_state, diagonal_lines(*x.shape[-2:]), condition)
