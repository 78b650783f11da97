"""The Lightning module: the likelihood, the optimiser and its schedule, the moving average of the weights."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float, Int
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_optimizer import SOAP
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pixelrnn.data import to_levels
from pixelrnn.errors import InputError
from pixelrnn.models import ImageModel, MultiScalePixelRNN, PixelRNN
from pixelrnn.models.orders import Order, spread
from pixelrnn.nn.dropout import part_of_batch
from pixelrnn.processes import Processes
from pixelrnn.training.batches import Part
from pixelrnn.training.recipe import TrainConfig


def seed_step(seed: int, step: int) -> None:
    """Seeds PyTorch's own generators for one batch, so its noise depends on the seed and its number alone."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0]))


class LikelihoodTraining(pl.LightningModule):
    """Maximum likelihood: the loss is the nats per dimension, −log p(x) / (C·H·W), averaged over a batch.

    It trains in any ``Trainer`` of Lightning, on any loader of images or of pairs (images, labels). Images are uint8
    levels (B, C, H, W), or floats from 0 to 1, which `pixelrnn.data.to_levels` turns into levels. It logs
    ``train/nats``, ``train/bits_per_dim``, ``valid/nats`` and ``valid/bits_per_dim``. Checkpoints of a ``Trainer`` hold
    its hyper-parameters, so ``LikelihoodTraining.load_from_checkpoint(path)`` needs nothing else. Those of a run folder
    hold its recipe instead.

    Args:
        model: the density; or a dictionary of its class and its ``config``, which checkpoints of a ``Trainer`` hold.
        config: the optimiser, its schedule, the seed and the scale. Only `pixelrnn.fit` and the command read the other
            options. A ``Trainer`` has its own: ``max_epochs``, ``gradient_clip_val``, ``accumulate_grad_batches``.
        images: the number of images in an epoch, in batches of ``config.batch``. Default: as many as the loader of the
            ``Trainer`` gives, and all its batches weigh alike.
        processes: with several of them, each computes its part of every batch. Noise is drawn for the whole batch, so
            it does not depend on their number.

    Raises:
        InputError: the model is missing, or the dictionary names another class.
    """

    def __init__(
        self,
        model: ImageModel | dict[str, Any] | None = None,
        config: TrainConfig | dict[str, Any] = TrainConfig(),
        *,
        images: int | None = None,
        processes: Processes = Processes(),
    ) -> None:
        super().__init__()
        if isinstance(model, dict):
            kind = {"PixelRNN": PixelRNN, "MultiScalePixelRNN": MultiScalePixelRNN}.get(model["kind"])
            if kind is None:
                raise InputError(f"the checkpoint holds a {model['kind']}: pass it to load_from_checkpoint as model")
            model = kind(**model["config"])
        if not isinstance(model, ImageModel):
            way = "PixelRNN.from_pretrained(run) loads the best model of a run folder, whose checkpoints do not hold it"
            raise InputError(f"the model is missing: {way}")
        self.model: ImageModel = model
        self.config = TrainConfig(**config) if isinstance(config, dict) else config
        self.images, self.processes = images, processes
        self.batches = None if images is None else math.ceil(images / self.config.batch)
        kept = {"kind": type(model).__name__, "config": model.config}
        self.save_hyperparameters({"model": kept, "config": asdict(self.config)})

    def _part(self, batch: "Part | Tensor | Sequence[Tensor]") -> Part:
        """A batch of any loader as a part: the whole of it."""
        if isinstance(batch, Part):
            return batch
        x, *labels = [batch] if isinstance(batch, Tensor) else batch
        pixels = to_levels(x, self.model.levels) if x.is_floating_point() else x
        return Part(pixels, labels[0] if labels else None, first=0, total=len(x))

    def nats(self, batch: Part, order: Order = 0) -> Float[Tensor, ""]:
        """Mean nats per image, −log p(x | order). If only one scale is trained, only its terms count."""
        given: dict[str, Any] = {"labels": batch.labels if self.model.classes else None, "order": order}
        if self.config.scale is None:
            return -self.model.log_prob(batch.pixels, **given).mean()
        assert isinstance(self.model, MultiScalePixelRNN)
        terms = self.model.log_prob_map_of_scale(batch.pixels, self.config.scale, **given)
        return -terms.sum(dim=(1, 2, 3)).mean()

    def _shares(self, batch: Part, numbers: Int[Tensor, " total"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The share of this process in the batch's mean nats, and the mean itself, which has no gradient.

        The ``numbers`` choose the order of generation of each image of the whole batch.
        """
        weight = len(batch.pixels) / batch.total
        if not len(batch.pixels):  # the other processes wait for a gradient: a blank image of weight 0 gives zeros
            labels = None if batch.labels is None else batch.labels.new_zeros(1)
            batch = Part(batch.pixels.new_zeros(1, *batch.pixels.shape[1:]), labels, first=0, total=batch.total)
        order: Order = 0
        if self.model.orders > 1:
            every = spread(numbers, self.model.orders, (*batch.pixels.shape[2:],))
            order = every[batch.first : batch.first + len(batch.pixels)]
        share = self.nats(batch, order) * weight
        return share, self.processes.sum(share.detach().clone())

    def training_step(self, batch: "Part | Tensor | Sequence[Tensor]", batch_idx: int) -> dict[str, Tensor]:
        batch = self._part(batch)
        # A resumed run draws the same orders and dropout.
        own = None if self.batches is None else self.current_epoch * self.batches + batch_idx
        seed_step(self.config.seed, self.trainer.fit_loop.total_batch_idx if own is None else own)
        numbers = torch.randint(8, (batch.total,)) if self.model.orders > 1 else torch.zeros(0, dtype=torch.long)
        with part_of_batch(self.model, batch.first, batch.total):
            share, nats = self._shares(batch, numbers)
        if not nats.isfinite():
            at = f"at step {self.global_step}"
            raise InputError(f"the loss is {nats.item()} {at}: lower train.learning_rate or train.clip")
        self._log("train", nats, batch)
        # DDP averages the gradients of the processes, but the shares add up.
        loss = share * self.processes.size / batch.pixels.shape[1:].numel()
        return {"loss": loss * self._weight(batch, batch_idx), "nats": nats}

    def _weight(self, batch: Part, batch_idx: int) -> float:
        """The weight of a batch among those of a step, so that the gradients add up to those of all their images.

        Lightning divides each by ``train.accumulate``, but the last step of an epoch may have fewer batches, and the
        last batch fewer images.
        """
        if self.images is None:
            return 1.0
        of_step = self.config.batch * self.config.accumulate
        before = batch_idx // self.config.accumulate * of_step
        return self.config.accumulate * batch.total / min(of_step, self.images - before)

    def validation_step(self, batch: "Part | Tensor | Sequence[Tensor]", batch_idx: int) -> None:
        batch = self._part(batch)
        # Each image in one order gives the mean over all orders at the price of one. With the factor, batches of images
        # that are not square have row orders and column orders in turn, or nearly.
        _, nats = self._shares(batch, 5 * batch_idx + torch.arange(batch.total))
        self._log("valid", nats, batch)

    def _log(self, split: str, nats: Float[Tensor, ""], batch: Part) -> None:
        # Every process logs the mean of the whole batch, so Lightning need not combine them.
        bits = nats / (math.log(2) * batch.pixels.shape[1:].numel())
        self.log_dict({f"{split}/nats": nats, f"{split}/bits_per_dim": bits}, batch_size=batch.total)
        # The progress bar has little room.
        short = {"nats": nats, "bits/dim": bits} if split == "train" else {"valid": bits}
        self.log_dict(short, prog_bar=True, logger=False, batch_size=batch.total)

    def configure_optimizers(self) -> Any:
        parameters, rate = self.model.parameters(), self.config.learning_rate
        if self.batches is None:
            steps = self.trainer.estimated_stepping_batches
            if math.isinf(steps) and self.config.schedule != "constant":
                raise InputError(
                    "train.schedule cosine needs an end: pass max_steps to the Trainer, or choose constant"
                )
        else:
            steps = self.config.epochs * math.ceil(self.batches / self.config.accumulate)
        optimizer: torch.optim.Optimizer
        if self.config.optimizer == "adam":
            # Fused means one pass over each weight. In mixed precision Lightning cannot clip its gradients.
            optimizer = torch.optim.Adam(parameters, lr=rate, fused=self.config.precision == "float32")
        elif self.config.optimizer == "rmsprop":
            optimizer = torch.optim.RMSprop(parameters, lr=rate)
        else:
            optimizer = SOAP(parameters, lr=rate, betas=(0.95, 0.99), weight_decay=0.0)

        def schedule(step: int) -> float:
            """The learning rate of a step as a fraction of the highest."""
            warmup = self.config.warmup
            if step < warmup:
                return (step + 1) / (warmup + 1)
            if self.config.schedule == "constant":
                return 1.0
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

        # A plain function, because LambdaLR writes any other callable into the checkpoint.
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        # A run that resumes with another number of epochs still has the learning rate of its old schedule.
        scheduler: Any = self.lr_schedulers()
        for group, highest in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
            group["lr"] = highest * scheduler.lr_lambdas[0](scheduler.last_epoch)


class WeightEMA(WeightAveraging):
    """The exponential moving average of the weights over the steps. We validate, sample and export this average.

    The decay rises to its value as (1 + n)/(10 + n) over the first n steps, so that the random initial weights are
    forgotten even in a short run.
    """

    def __init__(self, decay: float) -> None:
        def average(averages: list[Tensor], currents: list[Tensor], n: Tensor | int) -> None:
            steps = int(n)  # on a GPU it waits for all kernels, so once per step and not for each weight
            rising = (1 + steps) / (10 + steps)
            get_ema_multi_avg_fn(min(decay, rising))(averages, currents, n)

        super().__init__(use_buffers=False, multi_avg_fn=average)
