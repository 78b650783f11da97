"""The masked convolution (paper §3.4)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pixelrnn.nn.masks import MaskType, mask


class MaskedConv2d(nn.Conv2d):
    """A convolution of stride 1 that keeps the map's size and sees no later pixel, nor a later channel of its own.

    Maps (B, in_features, H, W) to (B, out_features, H, W). Outside the image the input counts as zero.

    Args:
        mask_type: ``"A"`` for the first convolution of a network, which must not see the value it predicts, ``"B"`` for
            every later one that reads the current pixel.
        in_features: features of the input map.
        out_features: features of the output.
        kernel_size: one odd number, or (height, width).
        channels: image channels C; feature k belongs to channel k mod C.
        maps: equal maps that the output features form, each counted from 0 (the gates of an LSTM).

    Raises:
        InputError: an unknown mask type, an even kernel, or too few features for the channels.
    """

    mask: Tensor

    def __init__(
        self,
        mask_type: MaskType,
        in_features: int,
        out_features: int,
        kernel_size: int | tuple[int, int],
        *,
        channels: int = 1,
        maps: int = 1,
    ) -> None:
        height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        # Before the weights, so that a wrong argument is named by the mask's own message.
        open_taps = mask(mask_type, in_features, out_features, (height, width), channels=channels, maps=maps)
        super().__init__(in_features, out_features, (height, width), padding=(height // 2, width // 2))
        self.register_buffer("mask", open_taps, persistent=False)  # follows from the arguments: not saved

    def forward(self, x: Float[Tensor, "B in_features H W"]) -> Float[Tensor, "B out_features H W"]:
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)
