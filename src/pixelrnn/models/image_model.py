"""The base class of all densities of images: their configuration, checks of their inputs, sampling, files."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from pixelrnn import sampling
from pixelrnn.errors import InputError, check_number
from pixelrnn.models import hub, pretrained
from pixelrnn.models.orders import ORDERS, Order, best, check_order, turn, turn_back
from pixelrnn.nn import MaskedConv2d
from pixelrnn.randomness import generator as seeded
from pixelrnn.sampling import Row, Run, Step
from pixelrnn.sampling.batch import blank_images, check_completion, check_images, described
from pixelrnn.sampling.choosing import SURE

Model = TypeVar("Model", bound="ImageModel")
Chosen = TypeVar("Chosen", Step, Run)
Choosing = Callable[..., Generator[Chosen, None, Tensor]]
"""`pixelrnn.sampling.steps` or `pixelrnn.sampling.runs`."""


class ImageModel(nn.Module, ABC):
    """A density of images, uint8 tensors (B, C, H, W) of levels 0 to K − 1.

    A model may generate images in several orders: `pixelrnn.models.orders` lists them. Its network is told the order,
    and log p(x | order) is a density for each of them. Order 0 is raster order.

    ``config`` holds the arguments of the constructor, which `save_pretrained` writes: at least ``channels``,
    ``levels``, ``size``, ``classes`` and ``orders``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        # We check types too, because these arguments may come from a file.
        channels, levels, size, classes = (config[name] for name in ("channels", "levels", "size", "classes"))
        check_number("channels", channels, least=1)
        check_number("levels", levels, least=2, most=256)
        pair = isinstance(size, Sequence) and len(size) == 2 and all(type(n) is int and 1 <= n < 2**31 for n in size)
        if size is not None and not pair:
            raise InputError(f"size must be (height, width), each at least 1, got {size!r}: pass (28, 28) for 28×28")
        names = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
        if classes is not None and not (names and len(set(classes)) == len(classes) >= 2):
            raise InputError(f"classes must be two or more different names, got {classes!r}")
        self.channels: int = channels
        self.levels: int = levels
        self.size: tuple[int, int] | None = (size[0], size[1]) if size else None
        self.classes: list[str] | None = None if classes is None else list(classes)
        orders = config["orders"]
        if type(orders) is not int or orders not in ORDERS:
            raise InputError(f"orders must be one of {', '.join(map(str, ORDERS))}, got {orders!r}")
        self.orders: int = orders
        self.config = {**config, "size": self.size, "classes": self.classes}

    def forward(
        self, x: UInt8[Tensor, "B C H W"], *, order: Order = 0, **given: Tensor | None
    ) -> Float[Tensor, "B logits C H W"]:
        """The logits of every sub-pixel given all before it. Arguments and errors as in `log_prob_map`."""
        return self._in_order(self._logits, x, order, given)

    def log_prob_map(
        self, x: UInt8[Tensor, "B C H W"], *, order: Order = 0, **given: Tensor | None
    ) -> Float[Tensor, "B C H W"]:
        """The term of each sub-pixel in log p(x | order), in nats.

        Args:
            x: images.
            order: the order of generation, or an order for each image (B); 0 is raster order.
            given: the conditions of the density: ``labels`` (B), the class of each image.

        Raises:
            InputError: x is not a uint8 tensor (B, C, H, W) of the model's channels, or has a level above K − 1; labels
                are missing, out of range, or not expected; the model does not have the order.
        """
        return self._in_order(self._log_prob_map, x, order, given)

    def log_prob(
        self, x: UInt8[Tensor, "B C H W"], *, order: Order | Literal["mixture"] = 0, **given: Tensor | None
    ) -> Float[Tensor, " B"]:
        """log p(x | order) of each image, in nats. Arguments and errors as in the model's `log_prob_map`.

        The order ``"mixture"`` takes all orders of the model as equally likely. This too is an exact density:

            log p(x) = logsumexp_s log p(x | s) − ln S        for the orders s = 0, …, S − 1
        """
        if isinstance(order, str):
            if order != "mixture":
                raise InputError(f"order must be a whole number, one for each image, or 'mixture', got {order!r}")
            each = torch.stack([self.log_prob(x, order=s, **given) for s in range(self.orders)])
            return each.logsumexp(dim=0) - math.log(self.orders)
        return self.log_prob_map(x, order=order, **given).sum(dim=(1, 2, 3))

    def log_prob_by_class(self, x: UInt8[Tensor, "B C H W"], **given: Any) -> Float[Tensor, "B classes"]:
        """log p(x | class) of each image and class, in nats. An image's largest value marks its likeliest class.

        The order and other conditions of the density are ``given`` as in the model's `log_prob`.

        Raises:
            InputError: the density is not conditional on a class; or as in `log_prob_map`.
        """
        if self.classes is None:
            raise InputError("the model is not conditional on a class, expected a model with classes")
        each = [torch.full((len(x),), k, device=x.device) for k in range(len(self.classes))]
        return torch.stack([self.log_prob(x, labels=labels, **given) for labels in each], dim=1)

    def sample(
        self,
        n: int,
        *,
        height: int | None = None,
        width: int | None = None,
        order: Order = 0,
        temperature: float = 1.0,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        on_row: Callable[[Row], None] | None = None,
        **given: Tensor | None,
    ) -> UInt8[Tensor, "n C H W"]:
        """Draws n images.

        Args:
            n: the number of images.
            height: pixels per column; that of the model's `size` if not given.
            width: pixels per row; that of the model's `size` if not given.
            order: the order of generation, or an order for each image (n).
            temperature: divides the log-probabilities of every draw; 1 samples the model's distribution.
            seed: the seed of the random numbers. The same seed draws the same images as `pixelrnn sample --seed`.
            generator: the source of the random numbers, instead of a seed. Default: PyTorch's own generator.
            on_row: called with each complete row of all images: its pixels, and the logits that they were drawn from. A
                Multi-Scale model calls it with the rows of its last scale. In another order than 0, these are rows of
                the turned images (`pixelrnn.models.orders.turn`).
            given: the conditions of the density as in the model's `log_prob_map`: ``labels`` for instance.

        Raises:
            InputError: n, the size, the order, the labels, the temperature or the seed are out of range, no size is
                known, both a seed and a generator are given, or the model gives logits that are not finite.
        """
        if self.size is None and None in (height, width):
            raise InputError("the model has no size of its own: pass height and width")
        rows, columns = self.size or (0, 0)
        size = (rows if height is None else height, columns if width is None else width)
        blank = blank_images(n, self.channels, size, self.device)
        noise: dict[str, Any] = {"seed": seed, "generator": generator}
        options: dict[str, Any] = {"temperature": temperature, "on_row": on_row, **noise, **given}
        return self.complete(*blank, order=order, **options)

    def complete(
        self,
        x: UInt8[Tensor, "B C H W"],
        known: Bool[Tensor, "*B H W"],
        *,
        order: Order | None = None,
        temperature: float = 1.0,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        on_row: Callable[[Row], None] | None = None,
        **given: Tensor | None,
    ) -> UInt8[Tensor, "B C H W"]:
        """Draws the unknown pixels of x in the order of generation and keeps the known ones.

        If the known pixels come first in that order, this samples p(unknown | known). Otherwise a known pixel informs
        only the draws after it. Repeat an image to get several completions of it: ``x.repeat(4, 1, 1, 1)``.

        Args:
            x: images; the values of unknown pixels are ignored.
            known: (H, W) for all images or (B, H, W) for each, true where a pixel is kept.
            order: as in `sample`. If not given, each image gets its `best_order`. To know which rows ``on_row``
                receives, pass ``order=model.best_order(known)`` yourself.
            temperature: as in `sample`, like the arguments after it.

        Raises:
            InputError: x, the order or the labels are refused as in `log_prob_map`; the mask has another shape or type;
                the temperature is not above 0; the seed is out of range, or a generator is given too; or the model
                gives logits that are not finite.
        """
        if seed is not None and generator is not None:
            raise InputError("both a seed and a generator are given: pass only one of them")
        check_images(x, 256, self.channels)  # unknown pixels may have any level
        known = check_completion(x, known, self.levels)
        if order is None:
            order = self.best_order(known) if self.orders > 1 else 0
        turned, given = self._turned(x, order, given)
        noise = generator if seed is None else seeded(seed)
        how: dict[str, Any] = {"temperature": temperature, "generator": noise, "on_row": on_row}
        return turn_back(self._complete(turned, turn(known, order), given, **how), order)

    def steps(
        self,
        x: UInt8[Tensor, "B C H W"],
        known: Bool[Tensor, "*B H W"],
        *,
        order: Order = 0,
        **given: Tensor | None,
    ) -> Generator[Step, None, UInt8[Tensor, "B C H W"]]:
        """Goes through the unknown pixels of x in the order of generation; see `pixelrnn.sampling.steps`.

        Arguments and errors as in `complete`. The rows and columns of the steps are those of the turned images. A
        Multi-Scale model goes through one scale after the other, and its rows and columns are those of the scale.
        """
        return (yield from self._choosing(sampling.steps, x, known, order, given))

    def runs(
        self,
        x: UInt8[Tensor, "B C H W"],
        known: Bool[Tensor, "*B H W"],
        *,
        order: Order = 0,
        sure: float = SURE,
        **given: Tensor | None,
    ) -> Generator[Run, None, UInt8[Tensor, "B C H W"]]:
        """Goes through the pixels like `steps`, but several at a time where their levels can be guessed.

        Arguments and errors as in `steps` and `pixelrnn.sampling.runs`. The same pixels are known in all images, once
        these are turned to their orders.
        """
        return (yield from self._choosing(partial(sampling.runs, sure=sure), x, known, order, given))

    def _choosing(
        self, choosing: Choosing[Chosen], x: Tensor, known: Tensor, order: Order, given: dict[str, Any]
    ) -> Generator[Chosen, None, Tensor]:
        """Calls `pixelrnn.sampling.steps` or `runs` with the turned images."""
        check_images(x, 256, self.channels)
        known = check_completion(x, known, self.levels)
        turned, given = self._turned(x, order, given)
        completed = yield from self._steps(choosing, turned, turn(known, order), given)
        return turn_back(completed, order)

    def rows(
        self, x: UInt8[Tensor, "B C H W"], *, order: Order = 0, **given: Tensor | None
    ) -> Generator[Row, None, UInt8[Tensor, "B C H W"]]:
        """The logits of images, row by row, at the price of sampling them. They are those of `steps`, bit for bit.

        Arguments and errors as in `log_prob_map`; rows as in `steps`. In a row of a Multi-Scale model, the logits of
        the pixels that the scale before has are NaN.
        """
        check_images(x, self.levels, self.channels)
        turned, given = self._turned(x, order, given)
        known = torch.zeros(len(x), *turned.shape[2:], dtype=torch.bool, device=x.device)
        return (yield from self._rows(turned, known, given))

    def best_order(self, known: Bool[Tensor, "B H W"]) -> Int[Tensor, " B"]:
        """For each mask, the order of the model in which the most known pixels precede the unknown ones.

        Images of a batch that are not square have one shape once they are turned. So their orders are all by rows or
        all by columns, whichever is better for the whole batch.
        """
        return best(known, self.orders, self._sequence)

    # The rest of a model works in raster order: on images that were turned, and with the order among the conditions.

    @abstractmethod
    def _logits(self, x: Tensor, **given: Any) -> Float[Tensor, "B logits C H W"]:
        """See `forward`."""

    @abstractmethod
    def _log_prob_map(self, x: Tensor, **given: Any) -> Float[Tensor, "B C H W"]:
        """See `log_prob_map`."""

    @abstractmethod
    def _complete(self, x: Tensor, known: Tensor, given: dict[str, Any], **how: Any) -> Tensor:
        """See `complete`."""

    @abstractmethod
    def _steps(
        self, choosing: Choosing[Chosen], x: Tensor, known: Tensor, given: dict[str, Any]
    ) -> Generator[Chosen, None, Tensor]:
        """See `steps` and `runs`."""

    @abstractmethod
    def _rows(self, x: Tensor, known: Tensor, given: dict[str, Any]) -> Generator[Row, None, Tensor]:
        """See `rows`. Returns x."""

    @abstractmethod
    def _sequence(self, height: int, width: int) -> Int[Tensor, " n"]:
        """The positions of an image, numbered row by row, in the order in which the model draws them."""

    def _in_order(self, compute: Callable[..., Tensor], x: Tensor, order: Order, given: dict[str, Any]) -> Tensor:
        """Computes a map of the turned images and turns it back."""
        check_images(x, self.levels, self.channels)
        turned, given = self._turned(x, order, given)
        return turn_back(compute(turned, **given), order)

    def _turned(self, x: Tensor, order: Order, given: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """The images and the conditions of the density, turned so that raster order visits them in ``order``."""
        check_order(order, x.shape[0], self.orders)  # not len(x), which torch.export takes for a constant
        if (condition := given.get("condition")) is not None:
            if condition.ndim != 4 or (len(condition), *condition.shape[2:]) != (len(x), *x.shape[2:]):
                expected = f"({len(x)}, c, {x.shape[2]}, {x.shape[3]})"
                raise InputError(f"the condition is {tuple(condition.shape)}, expected {expected}")
            given = {**given, "condition": turn(condition, order)}
        return turn(x, order), {**given, "order": order}

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes ``config.json`` and ``model.safetensors`` into a folder, each whole or not at all."""
        pretrained.save(self, self.config, Path(folder))

    def push_to_hub(self, name: str, *, about: str = "", private: bool = False) -> str:
        """Uploads the model to the Hugging Face Hub, with a card and a picture of samples. Returns its address.

        The card tells what the model is and how to use it. Log in first (`hf auth login`).

        Args:
            name: ``owner/name`` on the Hub. If it exists, its files are replaced.
            about: more of the card, in Markdown. `pixelrnn.training.card.about` describes the score, the data and the
                recipe of a run.
            private: if the name is new, only the owner can see the model.

        Raises:
            InputError: the name is not valid, nobody is logged in, or the Hub refuses the upload.
        """
        return hub.push(self, name, about=about, private=private)

    @classmethod
    def from_pretrained(cls: type[Model], name: str | Path, *, verify: bool = True) -> Model:
        """Reads a model that `save_pretrained` wrote.

        Args:
            name: the folder of the model, or of a run, whose best model is read. If there is no such folder: a model
                that comes with the package, such as ``"mnist-class"``, or ``owner/name`` on the Hugging Face Hub.
            verify: refuse files whose checksum is missing or does not match. False reads files without a checksum, such
                as those that versions before 0.1.0 saved.

        Raises:
            InputError: the model is missing or has another class; a file is damaged; the weights belong to another
                configuration, or are not finite.
        """
        return pretrained.load([cls], name, verify=verify)

    @property
    def open_weights(self) -> int:
        """The number of weights, without those that a mask closes."""
        closed = (int((part.mask == 0).sum()) for part in self.modules() if isinstance(part, MaskedConv2d))
        return sum(weight.numel() for weight in self.parameters()) - sum(closed)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def check_labels(self, labels: Tensor | None, batch: int) -> None:
        """Raises InputError unless the labels fit the model and a batch of ``batch`` images."""
        if self.classes is None and labels is not None:
            raise InputError("the model is not conditional on a class: expected no labels")
        if self.classes is None:
            return
        if labels is None:
            raise InputError(f"labels are missing, expected one of {len(self.classes)} classes for each image")
        if tuple(labels.shape) != (batch,) or labels.is_floating_point() or labels.dtype == torch.bool:
            raise InputError(f"labels: {described(labels)}, expected whole numbers ({batch},)")
        wrong = [] if torch.compiler.is_compiling() else labels[(labels < 0) | (labels >= len(self.classes))].tolist()
        if wrong:
            raise InputError(f"the labels have a class {wrong[0]}, expected 0 to {len(self.classes) - 1}")
