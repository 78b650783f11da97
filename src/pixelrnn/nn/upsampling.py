"""The upsampling network of a Multi-Scale PixelRNN (paper §3.6)."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pixelrnn import ops
from pixelrnn.nn.raster import to_map, to_positions


class UpsamplingNetwork(nn.Module):
    """Turns a small image into a map of the size of the large image, which conditions the layers of a PixelRNN.

        3×3, C→c, ReLU, 3×3, ReLU              features of the small image
        2f×2f deconvolution of stride f, ReLU  upsampling
        3×3                                    mixing of neighbours

    Maps (B, C, h, w) to (B, c, H, W), where h = ⌈H/f⌉ and w = ⌈W/f⌉. Nothing is masked: the small image is known before
    the first pixel of the large one is drawn.

    Args:
        channels: image channels C.
        features: features c of the map.
        factor: upsampling factor f.
    """

    small: Any  # an nn.ModuleList of nn.Conv2d

    def __init__(self, channels: int, features: int, factor: int) -> None:
        super().__init__()
        self.small = nn.ModuleList(nn.Conv2d(n, features, 3, padding=1) for n in (channels, features))
        self.factor = factor
        self.deconvolution = nn.ConvTranspose2d(features, features, 2 * factor, stride=factor)
        self.large = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Float[Tensor, "B C h w"], height: int, width: int) -> Float[Tensor, "B c H W"]:
        """Returns the map for an image of this height and width."""
        for convolution in self.small:
            x = F.relu(_convolve(convolution, x))
        # Position k of the small map reaches f·k to f·k + 2f − 1, but its pixel is pixel f·k of the large image. So cut
        # off the first f − 1: then pixel f·k sees position k, and the pixels up to f·(k + 1) see both positions.
        begin = self.factor - 1
        x = F.relu(_enlarge(self.deconvolution, x)[:, :, begin : begin + height, begin : begin + width])
        return _convolve(self.large, x)


# PyTorch's own convolutions train faster, but give other bits for another batch size or number of threads. Without
# gradients we compute the same with `pixelrnn.ops.conv`, which gives the same bits: a compressed image needs them.


def _convolve(layer: nn.Conv2d, x: Float[Tensor, "B f H W"]) -> Float[Tensor, "B g H W"]:
    """A 3×3 convolution. Computed one row and one column later, no tap comes after the centre, as in a masked one."""
    if torch.is_grad_enabled():
        y: Tensor = layer(x)
        return y
    assert layer.bias is not None
    later = F.pad(x, (0, 1, 0, 1))
    positions = to_positions("x", later, layer.in_channels)
    computed = ops.conv(positions, F.pad(layer.weight, (0, 2, 0, 2)), layer.bias, later.shape[2])
    return to_map(computed, like=later)[:, :, 1:, 1:]


def _enlarge(layer: nn.ConvTranspose2d, x: Float[Tensor, "B f h w"]) -> Float[Tensor, "B g height width"]:
    """A 2f×2f deconvolution of stride f: each position gives 2×2 blocks of f×f pixels, and neighbours overlap."""
    if torch.is_grad_enabled():
        enlarged: Tensor = layer(x)
        return enlarged
    assert layer.bias is not None
    factor = layer.stride[0]
    weight = layer.weight.flatten(1).mT[:, :, None, None]  # (g · 2f · 2f, f, 1, 1)
    y = ops.conv(to_positions("x", x, layer.in_channels), weight, weight.new_zeros(len(weight)), x.shape[2])
    blocks = to_map(y, like=x).unflatten(1, (-1, 2, factor, 2, factor))  # (B, g, 2, f, 2, f, h, w)
    placed = [
        F.pad(blocks[:, :, p, :, q], (q, 1 - q, p, 1 - p)) for p in range(2) for q in range(2)
    ]  # (B, g, f, f, h + 1, w + 1)
    total = placed[0] + placed[1] + placed[2] + placed[3]
    return total.permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3) + layer.bias[:, None, None]
