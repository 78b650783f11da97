"""The base class of the Row LSTM and the Diagonal BiLSTM (paper §3.1, §3.2): an LSTM over the lines of an image.

    o, f, i = σ(Kss ⊛ h₋ + Kis ⊛ x)      g = tanh(Kss ⊛ h₋ + Kis ⊛ x)
    c = f ⊙ c₋ + i ⊙ g                   h = o ⊙ tanh(c)

Kis ⊛ x, the input-to-state term, is a masked convolution. Kss ⊛ h₋, the state-to-state term, reads only earlier
positions, so it needs no mask.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pixelrnn import ops
from pixelrnn.errors import InputError
from pixelrnn.nn.masked_conv import MaskedConv2d
from pixelrnn.nn.raster import to_map, to_positions


class StateToState(nn.Module):
    """The weights of the state-to-state term: Kss, the initial state, and the convolution of the condition (§3.6)."""

    def __init__(self, hidden: int, directions: int, taps: int, condition: int) -> None:
        super().__init__()
        # Uniform with variance 1/(3·T·h), as PyTorch initializes a convolution with T·h inputs.
        bound = (taps * hidden) ** -0.5
        self.weight = nn.Parameter(torch.empty(directions, taps, hidden, 4 * hidden).uniform_(-bound, bound))
        self.initial = nn.Parameter(torch.zeros(directions, 2, hidden))  # (h₀, c₀)
        # Unmasked: the condition is not part of the generated image.
        self.condition = nn.Conv2d(condition, directions * 4 * hidden, 1, bias=False) if condition else None


class LineLSTM(nn.Module):
    """The base class of both LSTM layers; a subclass defines the lines.

    Args:
        in_features: features of the input map, at least ``channels``.
        hidden: features h of the LSTM, at least ``channels``.
        channels: image channels C; feature k belongs to channel k mod C.
        condition: features c of a map that conditions the gates (§3.6), 0 for none. No mask hides any part of this map.

    Raises:
        InputError: fewer features than channels.
    """

    layer: ClassVar[ops.Layer]  # the layout of lines and taps in `pixelrnn.ops.lines`
    kernel: ClassVar[int]  # columns of the input-to-state convolution; the mask opens the left ones and the centre
    directions: ClassVar[int]  # scans D over the image, each with its own weights
    taps: ClassVar[int]  # earlier positions T that each position reads

    def __init__(self, in_features: int, hidden: int, *, channels: int = 1, condition: int = 0) -> None:
        super().__init__()
        maps = 4 * self.directions  # the gates
        kernel = (1, self.kernel)
        self.input_to_state = MaskedConv2d("B", in_features, maps * hidden, kernel, channels=channels, maps=maps)
        self.state_to_state = StateToState(hidden, self.directions, self.taps, condition)

    def forward(
        self, x: Float[Tensor, "B in_features H W"], condition: Float[Tensor, "B c H W"] | None = None
    ) -> Float[Tensor, "B hidden H W"]:
        """Returns the hidden state of every position, summed over the directions.

        ``condition`` is the map that conditions the gates, if the layer has one.

        Raises:
            InputError: a shape does not match, or the condition is missing or not expected.
        """
        positions = to_positions("x", x, self.input_to_state.in_channels)
        conditional = self.state_to_state.condition
        if (condition is None) != (conditional is None):
            raise InputError("the condition is missing" if condition is None else "the layer takes no condition")
        if condition is not None and conditional is not None:
            conditions = to_positions("condition", condition, conditional.in_channels, like=x)
            positions = torch.cat([positions, conditions], dim=2)
        states = ops.line_lstm(positions, *self.operands(), layer=self.layer, height=x.shape[2])
        return to_map(states, like=x)

    def operands(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Kis, its bias, Kss and the initial states, as `pixelrnn.ops.line_lstm` takes them.

        The features of the condition follow those of the map, so one product adds the convolutions of both.
        """
        state, gates = self.state_to_state, self.state_to_state.weight.shape[3]
        open_taps = self.input_to_state.masked_weight[:, :, 0, : self.kernel // 2 + 1]  # (D·4h, F, S)
        kernel = open_taps.unflatten(0, (self.directions, gates)).permute(0, 3, 2, 1)  # (D, S, F, 4h)
        if state.condition is not None:
            # (D, 1, c, 4h)
            conditional = state.condition.weight.flatten(1).unflatten(0, (self.directions, 1, gates)).mT
            before = conditional.new_zeros(1).expand(self.directions, self.kernel // 2, *conditional.shape[2:])
            kernel = torch.cat([kernel, torch.cat([before, conditional], dim=1)], dim=2)
        return kernel, self.input_to_state.bias.unflatten(0, (self.directions, gates)), state.weight, state.initial
