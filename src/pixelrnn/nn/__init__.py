"""The layers of PixelRNN, for use in your own models."""

from pixelrnn.nn.diagonal_bilstm import DiagonalBiLSTM
from pixelrnn.nn.head import OutputHead
from pixelrnn.nn.masked_conv import MaskedConv2d
from pixelrnn.nn.masks import MaskType, feature_channels, mask
from pixelrnn.nn.residual import LayerKind, ResidualBlock
from pixelrnn.nn.row_lstm import RowLSTM
from pixelrnn.nn.skew import skew, unskew
from pixelrnn.nn.upsampling import UpsamplingNetwork

__all__ = [
    "DiagonalBiLSTM",
    "LayerKind",
    "MaskType",
    "MaskedConv2d",
    "OutputHead",
    "ResidualBlock",
    "RowLSTM",
    "UpsamplingNetwork",
    "feature_channels",
    "mask",
    "skew",
    "unskew",
]
