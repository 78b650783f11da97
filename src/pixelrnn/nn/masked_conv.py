"""The masked convolution (paper §3.4)."""

from jaxtyping import Float
from torch import Tensor, nn

from pixelrnn import ops
from pixelrnn.nn.masks import MaskType, mask
from pixelrnn.nn.raster import to_map, to_positions


class MaskedConv2d(nn.Conv2d):
    """A convolution of stride 1 that keeps the size of the map. It sees no later pixel and no later channel (§3.4).

    Maps (B, in_features, H, W) to (B, out_features, H, W). Outside the image the input counts as zero.

    Args:
        mask_type: ``"A"`` for the first convolution of a network, which must not see the value that it predicts, or
            ``"B"`` for later ones.
        in_features: features of the input map.
        out_features: features of the output.
        kernel_size: one odd number, or (height, width).
        channels: image channels C; feature k belongs to channel k mod C.
        maps: number of equal maps in the output, such as the four gates of an LSTM; features count from 0 in each.

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
        # Build the mask after the weights: `pixelrnn.models.pretrained` stops at the first weight that its file lacks.
        open_taps = mask(mask_type, in_features, out_features, (height, width), channels=channels, maps=maps)
        self.margin = (height // 2, width // 2)  # rows above and below the centre, columns on each side
        self.register_buffer("mask", open_taps, persistent=False)  # not saved: it follows from the arguments

    @property
    def masked_weight(self) -> Float[Tensor, "out_features in_features kernel_height kernel_width"]:
        """The weight, with zeros at the closed taps."""
        return self.weight * self.mask

    def forward(
        self,
        x: Float[Tensor, "B in_features H W"],
        *,
        relu: bool = False,
        plus: Float[Tensor, "B out_features H W"] | None = None,
    ) -> Float[Tensor, "B out_features H W"]:
        """Convolves x, or max(x, 0) if ``relu``, and adds the map ``plus``.

        Raises:
            InputError: x or ``plus`` has another shape.
        """
        positions = to_positions("x", x, self.in_channels)
        added = None if plus is None else to_positions("plus", plus, self.out_channels, like=x)
        y = ops.conv(positions, self.masked_weight, self.bias, x.shape[2], relu=relu, plus=added)
        return to_map(y, like=x)
