"""Networks that the package does not have, and helpers that run them."""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelrnn import PixelRNN
from pixelrnn.likelihood import intensities, logits_per_channel
from pixelrnn.nn import DiagonalBiLSTM, LayerKind, MaskedConv2d, RowLSTM
from pixelrnn.ops import Backend
from pixelrnn.sampling import cpu, reference, trace
from pixelrnn.sampling.batch import start
from pixelrnn.sampling.program import Program

LAYERS: list[LayerKind] = ["diagonal-bilstm", "row-lstm", "pixel-cnn"]
BACKENDS: list[Backend] = ["reference", "cpu"]


def conv(features: int = 2, out: int = 2, kernel: int = 1, channels: int = 1) -> MaskedConv2d:
    return MaskedConv2d("B", features, out, kernel, channels=channels)


def mask_a(out: int = 2, channels: int = 1) -> MaskedConv2d:
    return MaskedConv2d("A", channels, out, 7, channels=channels)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model_of(layer: LayerKind, **options: Any) -> PixelRNN:
    return randomized(PixelRNN(layer=layer, **{"levels": 4, "hidden": 5, "depth": 2, **options}))


def randomized(network: Any) -> Any:
    """The network in float64 with large weights, the initial states too, which start at zero."""
    for parameter in network.double().parameters():
        nn.init.normal_(parameter, std=0.4)
    return network


class Network(nn.Module):
    """A network from any function of an image and a condition, and from the modules that it names."""

    def __init__(self, forward: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.function = forward

    def forward(self, *given: Tensor) -> Any:
        return self.function(self, *given)


class Mixed(nn.Module):
    """Both LSTMs, concatenations, and connections that no `ResidualBlock` has."""

    def __init__(self, channels: int, levels: int, condition: int = 0) -> None:
        super().__init__()
        self.channels = channels
        self.first = MaskedConv2d("A", channels, 6, (3, 5), channels=channels)
        self.row = RowLSTM(6, 3, channels=channels, condition=condition)
        self.diagonal = DiagonalBiLSTM(9, 3, channels=channels, condition=condition)
        self.convolutions = nn.Sequential(
            nn.ReLU(), MaskedConv2d("B", 6, 3, 3, channels=channels), nn.Dropout2d(0.5), nn.Identity()
        )
        self.given = nn.Conv2d(condition, 3, 1) if condition else None
        self.narrow = MaskedConv2d("B", 6, 3, 1, channels=channels)
        self.last = MaskedConv2d("B", 6, channels * logits_per_channel(levels), 1, channels=channels)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        x = self.first(x)
        row = self.row(x, condition)
        diagonal = self.diagonal(torch.cat([x, row], dim=1), condition)
        y = row + diagonal + self.convolutions(x)
        if self.given is not None:
            y = sum([y, self.given(condition)])
        y = torch.cat([self.narrow(x).relu(), y], dim=-3)
        return F.dropout(self.last(y), training=self.training).unflatten(1, (-1, self.channels))

    def nothing(self, x: Tensor, condition: Tensor) -> Tensor:
        """Logits that no layer makes."""
        return (condition + condition).unflatten(1, (1, -1))


class Random(nn.Module):
    """Random operations on random earlier maps, some in place."""

    def __init__(self, seed: int, channels: int, levels: int, condition: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        self.channels, self.condition = channels, condition
        self.layers = nn.ModuleList([MaskedConv2d("A", channels, 2 * channels, (3, 5), channels=channels)])
        self.operations: list[tuple[str, int, int]] = []
        features = [2 * channels]
        for _ in range(draw.randint(3, 9)):
            x, kind = (
                draw.randrange(len(features)),
                draw.choice(["convolution", "row", "diagonal", "cat", "relu_", "iadd"]),
            )
            alike = [n for n, count in enumerate(features) if count == features[x]]
            y = draw.randrange(len(features)) if kind == "cat" else draw.choice(alike)
            self.operations.append((kind, x, y))
            layers: dict[str, Callable[[], nn.Module]] = {
                "convolution": partial(
                    MaskedConv2d, "B", features[x], features[y], draw.choice([1, 3]), channels=channels
                ),
                "row": partial(RowLSTM, features[x], channels, channels=channels, condition=condition),
                "diagonal": partial(DiagonalBiLSTM, features[x], channels, channels=channels, condition=condition),
            }
            self.layers.append(layers.get(kind, nn.Identity)())
            features.append(
                {"row": channels, "diagonal": channels, "cat": features[x] + features[y]}.get(kind, features[x])
            )
        logits = channels * logits_per_channel(levels)
        self.layers.append(MaskedConv2d("B", features[-1], logits, 1, channels=channels))

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        first, *layers, last = self.layers
        maps = [first(image)]
        for layer, (kind, x, y) in zip(layers, self.operations, strict=True):
            if kind == "convolution":
                maps.append(layer(maps[x], relu=True, plus=maps[y]))
            elif kind == "cat":
                maps.append(torch.cat([maps[x], maps[y]], dim=1))
            elif kind == "relu_":
                maps.append(layer(maps[x]).relu_())
            elif kind == "iadd":
                maps.append(maps[x])
                maps[-1] += maps[y]
            else:
                maps.append(layer(maps[x], condition))
        return last(maps[-1]).unflatten(1, (-1, self.channels))


def partly_closed(network: nn.Module, seed: int) -> nn.Module:
    """Closes about half of the open taps at the centre, so features see any channels that the masks allow, or none."""
    for layer in network.modules():
        if isinstance(layer, MaskedConv2d):
            centre = layer.mask[:, :, layer.margin[0], layer.margin[1]]
            centre *= torch.rand(centre.shape, generator=seeded(seed)) < 0.5
    return network


def traced(network: nn.Module, channels: int = 1, levels: int = 4, **options: Any) -> Program:
    """The program of a network, or of a PixelRNN."""
    if isinstance(network, PixelRNN):
        options = {"condition": network.condition_features + len(network.classes or ()), "method": "logits"}
        channels, levels = network.channels, network.levels
    return trace.trace(network, channels=channels, levels=levels, **options)


def rows(network: nn.Module, x: Tensor, levels: int, **options: Any) -> Tensor:
    """The logits of all rows of known images, (B, logits, C, H, W), in the wanted columns."""
    batch, channels, _, width = x.shape
    noise = torch.zeros(width, channels, batch, dtype=torch.double)
    condition = options.get("condition")
    wanted = options.get("wanted", torch.ones(x.shape[2:], dtype=torch.bool))
    features = 0 if condition is None else condition.shape[1]
    running = start(traced(network, channels, levels, condition=features), width, batch)
    computed = [
        running.row(
            reference.RowOfImages(
                levels=x[:, :, i].permute(2, 1, 0).contiguous(),
                known=torch.ones(width, batch, dtype=torch.bool),
                uniform=noise,
                wanted=wanted[i],
                condition=None if condition is None else condition[:, :, i].permute(2, 0, 1),
            )
        )
        for i in range(x.shape[2])
    ]
    return torch.stack(computed).permute(3, 4, 2, 0, 1)  # from (H, W, C, B, logits)


def parallel(network: nn.Module, levels: int, condition: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """The network's logits of uint8 images, or of their first rows, without dropout."""

    def logits(x: Tensor) -> Tensor:
        given = [] if condition is None else [condition[:, :, : x.shape[2]]]
        return network.eval()(intensities(x, levels, torch.double), *given)

    return logits


KINDS: dict[str, Any] = {"reference": reference.Network, "cpu": cpu.Network}
