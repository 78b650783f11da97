"""The masked convolution (paper §3.4)."""

from jaxtyping import Float
from torch import Tensor, nn

from pixelrnn import ops
from pixelrnn.nn.masks import MaskType, mask
from pixelrnn.nn.raster import to_map, to_positions


class MaskedConv2d(nn.Conv2d):
    """A convolution of stride 1 that keeps the map's size and sees no later pixel, nor a later channel of its own.

    Maps (B, in_features, H, W) to (B, out_features, H, W). Outside the image the input
    counts as zero.

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
    bias: Tensor

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
        super().__init__(in_features, out_features, (height, width), padding=(height // 2, width // 2))
        # After the weights: a model's file is refused at the first that it lacks (`pixelrnn.models.pretrained`).
        open_taps = mask(mask_type, in_features, out_features, (height, width), channels=channels, maps=maps)
        self.margin = (height // 2, width // 2)  # above and below, to the left and to the right
        self.register_buffer("mask", open_taps, persistent=False)  # follows from the arguments: not saved

    @property
    def masked_weight(self) -> Float[Tensor, "out_features in_features kernel_height kernel_width"]:
        """The weight with its closed taps zero."""
        return self.weight * self.mask

    def forward(
        self,
        x: Float[Tensor, "B in_features H W"],
        *,
        relu: bool = False,
        plus: Float[Tensor, "B out_features H W"] | None = None,
    ) -> Float[Tensor, "B out_features H W"]:
        """The convolution of x, or with ``relu`` of max(x, 0), and the map ``plus`` added.

        Raises:
            InputError: x or ``plus`` has another shape.
        """
        positions = to_positions("x", x, self.in_channels)
        added = None if plus is None else to_positions("plus", plus, self.out_channels, like=x)
        y = ops.conv(positions, self.masked_weight, self.bias, x.shape[2], relu=relu, plus=added)
        return to_map(y, like=x)
