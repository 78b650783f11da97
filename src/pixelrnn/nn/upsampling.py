"""The upsampling network of a Multi-Scale PixelRNN (paper §3.6)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


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

    def __init__(self, channels: int, features: int, factor: int) -> None:
        super().__init__()
        self.small = nn.ModuleList(nn.Conv2d(n, features, 3, padding=1) for n in (channels, features))
        self.factor = factor
        self.deconvolution = nn.ConvTranspose2d(features, features, 2 * factor, stride=factor)
        self.large = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Float[Tensor, "B C h w"], height: int, width: int) -> Float[Tensor, "B c H W"]:
        """Returns the map for an image of this height and width."""
        for convolution in self.small:
            x = F.relu(convolution(x))
        # Position k of the small map reaches f·k to f·k + 2f − 1, but its pixel is pixel f·k of the large image. So cut
        # off the first f − 1: then pixel f·k sees position k, and the pixels up to f·(k + 1) see both positions.
        begin = self.factor - 1
        x = F.relu(self.deconvolution(x)[:, :, begin : begin + height, begin : begin + width])
        return self.large(x)
