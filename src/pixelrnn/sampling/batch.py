"""A batch of images to complete, the network that computes their rows, and checks of images."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from pixelrnn.errors import InputError, check_number
from pixelrnn.ops import choose
from pixelrnn.sampling import cpu, cuda, reference, trace
from pixelrnn.sampling.program import Program, operands

Running = reference.Network | cuda.Network | cpu.Network
"""A network that computes the rows of a batch of images."""


@dataclass(frozen=True)
class Batch:
    """Images to complete, positions outermost."""

    network: Running
    pixels: UInt8[Tensor, "H W C B"]
    known: Bool[Tensor, "H W B"]
    condition: Float[Tensor, "B c H W"] | None

    @cached_property
    def wanted(self) -> Bool[Tensor, "H W"]:
        """The columns in which an image needs a draw."""
        return ~self.known.all(dim=2)

    @cached_property
    def drawn_rows(self) -> int:
        """The number of rows up to the last draw."""
        return int(self.wanted.any(dim=1).nonzero().max()) + 1 if self.wanted.any() else 0

    @cached_property
    def is_partly_known(self) -> bool:
        """True if a pixel is known in some images and unknown in others."""
        return bool((self.known.any(dim=2) & self.wanted).any())

    def row(self, i: int, uniform: Tensor | None = None, temperature: float = 1.0) -> reference.RowOfImages:
        """Row i, with its noise if levels are drawn."""
        given = None if self.condition is None else self.condition[:, :, i].permute(2, 0, 1)
        given = None if given is None else given.to(self.network.like.dtype)
        return reference.RowOfImages(self.pixels[i], self.known[i], uniform, self.wanted[i], temperature, given)


def begin(
    network: nn.Module,
    x: Tensor,
    known: Tensor,
    levels: int = 256,
    condition: Tensor | None = None,
    method: str = "forward",
) -> Batch:
    """Checks the arguments of `pixelrnn.sampling.rows` and begins with the images."""
    check_number("levels", levels, least=2, most=256)
    for name, given in {"x": x, "known": known, "condition": condition}.items():
        if given is not None and given.device != (device := device_of(network)):
            raise InputError(f"{name} is on {given.device}, expected {device}, the device of the network")
    known = check_completion(x, known, levels)
    batch, channels, height, width = x.shape
    features = condition.shape[1] if condition is not None and condition.ndim == 4 else 0
    if condition is not None and (not features or condition.shape != (batch, features, height, width)):
        raise InputError(f"condition has shape {tuple(condition.shape)}, expected ({batch}, c, {height}, {width})")
    program = trace.trace(network, channels=channels, levels=levels, condition=features, method=method)
    pixels = x.permute(2, 3, 1, 0).clone(memory_format=torch.contiguous_format)
    return Batch(start(program, width, batch), pixels, known.permute(1, 2, 0).contiguous(), condition)


@torch.no_grad()
def start(program: Program, width: int, batch: int) -> Running:
    """Begins a batch of images with the current weights, on the backend that `pixelrnn.ops.choose` returns.

    Raises:
        InputError: the selected backend cannot run.
    """
    weights = operands(program)
    alike = len({(weight.dtype, weight.device) for given in weights for weight in given}) == 1
    like = weights[-1][0]
    chosen = choose(like)[0]
    kind: type[Running] = reference.Network
    if alike and chosen == "cpu":
        kind = cpu.Network
    elif alike and chosen in ("auto", "triton") and like.is_cuda:
        kind = cuda.Network
    return kind(program, weights, width, batch)


def blank_images(n: int, channels: int, size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns images without a known pixel, and their mask. Raises InputError if a number is below 1."""
    if not (isinstance(size, tuple | list) and len(size) == 2):
        raise InputError(f"size must be (height, width), got {size!r}")
    for name, value in {"n": n, "channels": channels, "height": size[0], "width": size[1]}.items():
        check_number(name, value, least=1)
    x = torch.zeros(n, channels, *size, dtype=torch.uint8, device=device)
    return x, torch.zeros(size, dtype=torch.bool, device=device)


def check_images(x: Tensor, levels: int, channels: int | None = None) -> None:
    """Raises InputError unless x is uint8 (B, C, H, W), not empty, with this number of channels and levels below K."""
    if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] != (channels or x.shape[1]) or 0 in x.shape:
        raise InputError(f"images are a {described(x)}, expected uint8 (B, {channels or 'C'}, H, W)")
    # A compiled or exported network cannot check values; there the likelihood of a level that is too high fails.
    if levels < 256 and not torch.compiler.is_compiling() and (highest := int(x.max())) >= levels:
        raise InputError(f"images have a level {highest}, expected 0 to {levels - 1}")


def check_completion(x: Tensor, known: Tensor, levels: int) -> Bool[Tensor, "B H W"]:
    """Returns the mask of each image. Raises InputError if x, its known levels or the mask is not valid."""
    check_images(x, levels=256)
    each, shared = (x.shape[0], *x.shape[2:]), tuple(x.shape[2:])
    if known.device != x.device:
        raise InputError(f"known is on {known.device}, expected {x.device}, the device of the images")
    if known.dtype != torch.bool or tuple(known.shape) not in (shared, each):
        raise InputError(f"known is a {described(known)}, expected bool {shared} or {each}")
    known = known.expand(each)
    check_images(torch.where(known[:, None], x, 0), levels)
    return known


def described(x: Tensor) -> str:
    """The type and shape of a tensor."""
    return f"{str(x.dtype).removeprefix('torch.')} tensor {tuple(x.shape)}"


def device_of(network: nn.Module) -> torch.device:
    """The device of the weights. Raises InputError if there are none."""
    weight = next(network.parameters(), None) if isinstance(network, nn.Module) else None
    if weight is None:
        raise InputError(f"network is a {type(network).__name__}, expected an nn.Module with weights")
    return weight.device
