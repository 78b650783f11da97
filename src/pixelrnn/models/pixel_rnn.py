"""The PixelRNN (paper §3, Table 1): a density of images with any of the paper's three layers."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from pixelrnn import likelihood
from pixelrnn.errors import InputError
from pixelrnn.incremental import Program
from pixelrnn.models import pretrained
from pixelrnn.nn import LayerKind, MaskedConv2d, OutputHead, ResidualBlock
from pixelrnn.nn.raster import store_by_position
from pixelrnn.sampling import Row, incremental


class PixelRNN(nn.Module):
    """p(x) = Π p(x_i | x_<i), sub-pixel by sub-pixel in the order of generation: rows, pixels, then R, G, B.

        7×7 mask A, C→2h
        depth × ResidualBlock, 2h→2h          each with a 1×1 mask B skip connection to the output
        ReLU, 1×1 B, ReLU, 1×1 B              K logits per channel, one where K = 2

    Images are uint8 tensors (B, C, H, W) of levels 0 to K − 1, of any height and width.

    Args:
        layer: ``"diagonal-bilstm"``, ``"row-lstm"`` or ``"pixel-cnn"``.
        channels: image channels C.
        levels: intensity levels K per channel, 2 to 256.
        hidden: features h of a layer, at least C; the residual stream has 2h.
        depth: residual blocks.
        head: features between the two output convolutions; 2h if not given.
        residual: add each block's input to its output (§3.3).
        skip: feed the output from every block (§3.3), not just the last.
        size: the (height, width) of the images that the model is for, which `sample` draws unless told otherwise.

    Raises:
        InputError: an argument is out of its range.
    """

    blocks: Any  # nn.ModuleLists, whose layers have more methods than an nn.Module
    skips: Any

    def __init__(
        self,
        *,
        layer: LayerKind = "diagonal-bilstm",
        channels: int = 1,
        levels: int = 256,
        hidden: int = 32,
        depth: int = 1,
        head: int | None = None,
        residual: bool = True,
        skip: bool = True,
        size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        # The types too: these arguments may come from a file.
        for name, value in {"channels": channels, "depth": depth, "hidden": hidden, "head": head}.items():
            if value is not None and not (isinstance(value, int) and value >= 1):
                raise InputError(f"{name} must be at least 1, got {value!r}")
        if not (isinstance(levels, int) and 2 <= levels <= 256):
            raise InputError(f"levels must be from 2 to 256, got {levels!r}")
        if size is not None and not (len(size) == 2 and all(isinstance(n, int) and n >= 1 for n in size)):
            raise InputError(f"size must be (height, width), each at least 1, got {tuple(size)}")
        for name, switch in {"residual": residual, "skip": skip}.items():
            if not isinstance(switch, bool):
                raise InputError(f"{name} must be true or false, got {switch!r}")
        self.channels, self.levels = channels, levels
        self.size: tuple[int, int] | None = (size[0], size[1]) if size else None
        self.config: dict[str, Any] = {
            "layer": layer,
            "channels": channels,
            "levels": levels,
            "hidden": hidden,
            "depth": depth,
            "head": head,
            "residual": residual,
            "skip": skip,
            "size": self.size,
        }
        stream = 2 * hidden
        self.first = MaskedConv2d("A", channels, stream, 7, channels=channels)
        self.blocks = nn.ModuleList(
            ResidualBlock(layer, hidden, channels=channels, residual=residual) for _ in range(depth)
        )
        self.skips = nn.ModuleList(
            MaskedConv2d("B", stream, stream, 1, channels=channels) for _ in range(depth if skip else 0)
        )
        self.head = OutputHead(stream, head or stream, likelihood.logits_per_channel(levels), channels=channels)

    def logits(self, intensities: Float[Tensor, "B C H W"]) -> Float[Tensor, "B logits C H W"]:
        """The network, from intensities scaled to [−1, 1] to the logits of every sub-pixel given all before it."""
        # The LSTM layers compute on positions, and so does then all that comes before and after them.
        x = self.first(intensities if self.config["layer"] == "pixel-cnn" else store_by_position(intensities))
        to_output = None
        for n, block in enumerate(self.blocks):
            x = block(x)
            if self.skips:
                to_output = self.skips[n](x, plus=to_output)
        return self.head(to_output if self.skips else x)

    @torch.no_grad()
    def incremental(self, height: int, width: int) -> Program:
        """The same network as steps that can be carried out position by position, for images of a size."""
        program = Program(height, width, self.channels, self.levels)
        x, to_output = self.first.incremental(program, 0), None
        for n, block in enumerate(self.blocks):
            x = block.incremental(program, x)
            if self.skips:
                to_output = self.skips[n].incremental(program, x, plus=to_output)
        self.head.incremental(program, x if to_output is None else to_output)
        return program

    def forward(self, x: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B logits C H W"]:
        """The logits of every sub-pixel given all before it.

        Raises:
            InputError: x is not a uint8 tensor (B, C, H, W) of the model's channels, or has a level above K − 1.
        """
        self._check(x)
        return self.logits(x.to(self.first.weight.dtype) * (2 / (self.levels - 1)) - 1)

    def log_prob_map(self, x: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """log p(x_i | x_<i) of each sub-pixel, in nats. Raises InputError as `forward` does."""
        return likelihood.log_prob_map(self(x), x)

    def log_prob(self, x: UInt8[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
        """log p(x) of each image, in nats. Raises InputError as `forward` does."""
        return self.log_prob_map(x).sum(dim=(1, 2, 3))

    def sample(
        self,
        n: int,
        *,
        height: int | None = None,
        width: int | None = None,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        on_row: Callable[[Row], None] | None = None,
    ) -> UInt8[Tensor, "n C H W"]:
        """Draws n images.

        Args:
            n: how many.
            height: rows, the model's own `size` if not given.
            width: columns, likewise.
            temperature: divides the log-probabilities of every draw; 1 samples the model's distribution.
            generator: source of randomness, for samples that can be drawn again.
            on_row: called with each row of all images when it is complete: its pixels, and what they were drawn from.

        Raises:
            InputError: n, the size or the temperature is out of range, or no size is known.
        """
        own_height, own_width = self.size or (None, None)
        height, width = own_height if height is None else height, own_width if width is None else width
        if height is None or width is None:
            raise InputError("the model has no size of its own: give height and width")
        for name, value in {"n": n, "height": height, "width": width}.items():
            if value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        nothing = torch.zeros(n, self.channels, height, width, dtype=torch.uint8, device=self.first.weight.device)
        known = torch.zeros(height, width, dtype=torch.bool, device=nothing.device)
        return self.complete(nothing, known, temperature=temperature, generator=generator, on_row=on_row)

    def complete(
        self,
        x: UInt8[Tensor, "B C H W"],
        known: Bool[Tensor, "*B H W"],
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        on_row: Callable[[Row], None] | None = None,
    ) -> UInt8[Tensor, "B C H W"]:
        """Draws the unknown pixels of x in the order of generation and keeps the known ones.

        Where the known pixels come first in that order, this samples p(unknown | known). Where they are scattered, a
        known pixel informs only the draws that come after it.

        Args:
            x: images; the values of unknown pixels are ignored.
            known: (H, W) for all images or (B, H, W) for each, true where a pixel is kept.
            temperature: divides the log-probabilities of every draw; 1 samples the model's distribution.
            generator: source of randomness.
            on_row: called with each row of all images when it is complete: its pixels, and what they were drawn from.

        Raises:
            InputError: x as in `forward`, a mask of another shape or type, a temperature that is not above 0.
        """
        if not (math.isfinite(temperature) and temperature > 0):
            raise InputError(f"temperature must be a finite number above 0, got {temperature}")
        batch, _, height, width = self._check_shape(x)
        if known.dtype != torch.bool or tuple(known.shape) not in ((height, width), (batch, height, width)):
            raise InputError(
                f"known is a {_name(known.dtype)} tensor {tuple(known.shape)}, expected bool "
                f"({height}, {width}) or ({batch}, {height}, {width})"
            )
        known = known.expand(batch, height, width)
        self._check(torch.where(known[:, None], x, 0))
        program, completed = self.incremental(height, width), torch.empty_like(x)
        for row in incremental.complete(program, x, known, temperature=temperature, generator=generator):
            completed[:, :, row.index] = row.pixels
            if on_row is not None:
                on_row(row)
        return completed

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes ``config.json`` and ``model.safetensors`` into a folder, each whole or not at all.

        Raises:
            OSError: the folder cannot be written to.
        """
        pretrained.save(self, self.config, Path(folder))

    @classmethod
    def from_pretrained(cls, name: str | Path) -> "PixelRNN":
        """Reads a model that `save_pretrained` wrote, from a folder or a repository of the Hugging Face Hub.

        Args:
            name: the folder, or the Hub's ``owner/name`` where no such folder exists.

        Raises:
            InputError: nothing is found there, a file is damaged, the weights belong to another configuration, or they
                are not finite.
        """
        return pretrained.load(cls, name)

    def _check_shape(self, x: Tensor) -> torch.Size:
        if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] != self.channels or 0 in x.shape:
            raise InputError(
                f"images are a {_name(x.dtype)} tensor {tuple(x.shape)}, expected uint8 (B, {self.channels}, H, W)"
            )
        return x.shape

    def _check(self, x: Tensor) -> None:
        self._check_shape(x)
        if self.levels < 256 and (highest := int(x.max())) >= self.levels:
            raise InputError(f"images have a level {highest}, expected 0 to {self.levels - 1}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
