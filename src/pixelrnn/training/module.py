"""The Lightning module: the likelihood, the optimiser and its schedule, the moving average of the weights."""

import math
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float, UInt8
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_optimizer import SOAP
from torch import Tensor

from pixelrnn.data import Batch
from pixelrnn.errors import InputError
from pixelrnn.models import ImageModel, MultiScalePixelRNN
from pixelrnn.models.orders import Order, spread
from pixelrnn.training.recipe import TrainConfig


def seed_step(seed: int, step: int) -> None:
    """Seeds PyTorch's own generators for one training step, so its noise depends on seed and step alone."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0]))


class LikelihoodTraining(pl.LightningModule):
    """Maximum likelihood: the loss is the nats per dimension, −log p(x) / (C·H·W), averaged over a batch.

    ``steps`` is the number of steps of the whole training, which the schedule spans.
    """

    def __init__(self, model: ImageModel, config: TrainConfig, *, steps: int) -> None:
        super().__init__()
        self.model, self.config, self.steps = model, config, steps

    def nats(self, batch: Batch, order: Order = 0) -> Float[Tensor, ""]:
        """Mean nats per image of a batch, −log p(x | order). If only one scale is trained, only its terms count."""
        given: dict[str, Any] = {"labels": batch.labels if self.model.classes else None, "order": order}
        if self.config.scale is None:
            return -self.model.log_prob(batch.pixels, **given).mean()
        assert isinstance(self.model, MultiScalePixelRNN)
        terms = self.model.log_prob_map_of_scale(batch.pixels, self.config.scale, **given)
        return -terms.sum(dim=(1, 2, 3)).mean()

    def _orders(self, batch: Batch, first: int | None = None) -> Order:
        """An order for each image of a batch: drawn, or else all of them in turn from the number ``first``."""
        if self.model.orders == 1:
            return 0
        n = len(batch.pixels)
        numbers = torch.randint(8, (n,)) if first is None else first + torch.arange(n)
        return spread(numbers, self.model.orders, (*batch.pixels.shape[2:],))

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        seed_step(self.config.seed, self.global_step)  # a resumed run draws the same orders and dropout
        nats = self.nats(batch, self._orders(batch))
        if not nats.isfinite():
            at = f"at step {self.global_step}"
            raise InputError(f"the loss is {nats.item()} {at}: lower train.learning_rate or train.clip")
        self._log("train", nats, batch.pixels)
        return {"loss": nats / batch.pixels[0].numel(), "nats": nats.detach()}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        # Each image in one order gives the mean over all orders at the price of one. With the factor, batches of images
        # that are not square have row orders and column orders in turn, or nearly.
        self._log("valid", self.nats(batch, self._orders(batch, first=5 * batch_idx)), batch.pixels)

    def _log(self, split: str, nats: Float[Tensor, ""], x: UInt8[Tensor, "B C H W"]) -> None:
        bits = nats / (math.log(2) * x[0].numel())
        self.log_dict({f"{split}/nats": nats, f"{split}/bits_per_dim": bits}, batch_size=len(x))
        # The progress bar has little room.
        short = {"nats": nats, "bits/dim": bits} if split == "train" else {"valid": bits}
        self.log_dict(short, prog_bar=True, logger=False, batch_size=len(x))

    def configure_optimizers(self) -> Any:
        parameters, rate = self.model.parameters(), self.config.learning_rate
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
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, self.steps - warmup)))

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
        def average(ema: Tensor, current: Tensor, n: Tensor | int) -> Tensor:
            rising = (1 + int(n)) / (10 + int(n))
            return torch.lerp(current, ema, min(decay, rising))

        super().__init__(use_buffers=False, avg_fn=average)
