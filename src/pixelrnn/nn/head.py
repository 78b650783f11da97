"""The output layers (paper Table 1): ReLU, 1×1 mask B, ReLU, 1×1 mask B."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from pixelrnn.nn.masked_conv import MaskedConv2d


class OutputHead(nn.Module):
    """Maps the residual stream, or the sum of the skip connections, to the logits of each channel.

    Maps (B, in_features, H, W) to (B, logits, C, H, W).

    Args:
        in_features: features of the input map, at least ``channels``.
        features: features between the two convolutions, at least ``channels``.
        logits: logits per channel: K for a softmax over K levels, 1 for a Bernoulli variable.
        channels: image channels C.

    Raises:
        InputError: fewer features than channels.
    """

    layers: Any  # an nn.ModuleList; its type would hide the keywords of the layers

    def __init__(self, in_features: int, features: int, logits: int, *, channels: int = 1) -> None:
        super().__init__()
        self.channels = channels
        sizes = (in_features, features), (features, logits * channels)
        self.layers = nn.ModuleList(MaskedConv2d("B", *size, 1, channels=channels) for size in sizes)

    def forward(self, x: Float[Tensor, "B in_features H W"]) -> Float[Tensor, "B logits C H W"]:
        # Feature k belongs to channel k mod C, so level l of channel c is feature l·C + c.
        for layer in self.layers:
            x = layer(x, relu=True)
        return x.unflatten(1, (-1, self.channels))
