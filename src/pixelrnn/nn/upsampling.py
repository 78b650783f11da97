"""The upsampling network of a Multi-Scale PixelRNN (paper §3.6)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class UpsamplingNetwork(nn.Module):
    """From a small image to a map of the size of the large one, that conditions the layers of a PixelRNN.

        3×3, C→c, ReLU, 3×3, ReLU             what the small image shows
        2f×2f deconvolution of stride f, ReLU  to the large size
        3×3                                   between neighbours there

    Maps (B, C, h, w) to (B, c, H, W), where h = ⌈H/f⌉ and w = ⌈W/f⌉. Nothing is masked: the small image is known before
    the first pixel of the large one is drawn.

    Args:
        channels: image channels C.
        features: c.
        factor: f, from the small to the large image.
    """

    def __init__(self, channels: int, features: int, factor: int) -> None:
        super().__init__()
        self.small = nn.ModuleList(nn.Conv2d(n, features, 3, padding=1) for n in (channels, features))
        self.factor = factor
        self.deconvolution = nn.ConvTranspose2d(features, features, 2 * factor, stride=factor)
        self.large = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Float[Tensor, "B C h w"], height: int, width: int) -> Float[Tensor, "B c H W"]:
        """The map for an image of a height and width."""
        for convolution in self.small:
            x = F.relu(convolution(x))
        # Position k of the small map reaches f·k to f·k + 2f − 1. Its pixel stands at f·k of the large image, so f − 1
        # are cut off before the first: then f·k sees its own pixel, and what lies between two pixels sees both.
        begin = self.factor - 1
        x = F.relu(self.deconvolution(x)[:, :, begin : begin + height, begin : begin + width])
        return self.large(x)
