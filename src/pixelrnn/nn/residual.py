"""Residual blocks (paper §3.3 and figure 5; §3.5 for PixelCNN)."""

from typing import Any, Literal, get_args

from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import has_torch_function_unary

from pixelrnn.errors import InputError
from pixelrnn.nn.diagonal_bilstm import DiagonalBiLSTM
from pixelrnn.nn.dropout import Dropout2d
from pixelrnn.nn.masked_conv import MaskedConv2d
from pixelrnn.nn.row_lstm import RowLSTM

LayerKind = Literal["diagonal-bilstm", "row-lstm", "pixel-cnn"]


class ResidualBlock(nn.Module):
    """One block of the network: a layer on h features between the 2h features of the residual stream.

        diagonal-bilstm, row-lstm    LSTM 2h→h, 1×1 mask B h→2h
        pixel-cnn                    ReLU, 1×1 2h→h, ReLU, 3×3 h→h, ReLU, 1×1 h→2h, all mask B

    Maps (B, 2h, H, W) to (B, 2h, H, W) and adds its input. Dropout is not in the paper. In training it zeroes some of
    the h features that the last 1×1 convolution reads. Each image draws its own features, the same at all positions.
    Gal & Ghahramani (2016) likewise use one mask for all steps of a recurrent network.

    Args:
        layer: the kind of layer.
        hidden: features h.
        channels: image channels C.
        residual: add the input; part of the paper's Table 2 switches this off.
        condition: features c of a map that conditions the layer (§3.6), 0 for none. A PixelCNN block adds a 1×1
            convolution of this map to its 3×3 convolution.
        dropout: the fraction of features that training sets to zero, in [0, 1].

    Raises:
        InputError: an unknown layer, or fewer features than channels.
    """

    transform: Any  # an nn.ModuleList; its type would hide the keywords of the layers

    def __init__(
        self,
        layer: LayerKind,
        hidden: int,
        *,
        channels: int = 1,
        residual: bool = True,
        condition: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        stream = 2 * hidden
        self.condition: nn.Conv2d | None = None
        if layer == "pixel-cnn":
            sizes = (stream, hidden, 1), (hidden, hidden, 3), (hidden, stream, 1)
            self.transform = nn.ModuleList(MaskedConv2d("B", *size, channels=channels) for size in sizes)
            if condition:
                self.condition = nn.Conv2d(condition, hidden, 1, bias=False)
        elif layer in ("diagonal-bilstm", "row-lstm"):
            kind = DiagonalBiLSTM if layer == "diagonal-bilstm" else RowLSTM
            lstm = kind(stream, hidden, channels=channels, condition=condition)
            self.transform = nn.ModuleList([lstm, MaskedConv2d("B", hidden, stream, 1, channels=channels)])
        else:
            raise InputError(f"unknown layer {layer!r}: expected one of {', '.join(get_args(LayerKind))}")
        self.layer, self.residual, self.dropout = layer, residual, Dropout2d(dropout)

    def forward(
        self, x: Float[Tensor, "B stream H W"], condition: Float[Tensor, "B c H W"] | None = None
    ) -> Float[Tensor, "B stream H W"]:
        """Applies the block to x; ``condition`` is the map that conditions the layer, if it has one.

        Raises:
            InputError: a shape does not match, or the condition is missing or not expected.
        """
        plus = x if self.residual else None
        if self.layer == "pixel-cnn":
            if (condition is None) != (self.condition is None):
                raise InputError("the condition is missing" if condition is None else "the layer takes no condition")
            # A traced map (`pixelrnn.sampling.trace`) has no shape.
            if self.condition is not None and condition is not None and not has_torch_function_unary(condition):
                expected = *x.shape[:1], self.condition.in_channels, *x.shape[2:]
                if condition.shape != expected or 0 in expected[2:]:
                    raise InputError(
                        f"condition has shape {tuple(condition.shape)}, expected {expected}, H and W above 0"
                    )
                condition = condition.to(self.condition.weight.dtype)
            narrow, convolution, widen = self.transform
            conditional = None if self.condition is None else self.condition(condition)
            y = convolution(narrow(x, relu=True), relu=True, plus=conditional)
            return widen(self.dropout(y), relu=True, plus=plus)
        lstm, widen = self.transform
        return widen(self.dropout(lstm(x, condition)), plus=plus)
