"""Trains a model from a recipe and keeps it in a run folder."""

import json
import logging
import signal
import warnings
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, RichProgressBar
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.sampler import StatefulDistributedSampler

from pixelrnn import models
from pixelrnn.data import Data, load
from pixelrnn.errors import InputError, check_number, input_error, on_signals
from pixelrnn.models import ImageModel, MultiScalePixelRNN, PixelRNN
from pixelrnn.models.pretrained import fill
from pixelrnn.progress import sees_progress
from pixelrnn.training.checkpoint import CheckedCheckpoints, averaged_weights, check
from pixelrnn.training.curves import Curves
from pixelrnn.training.memory import keep_freed
from pixelrnn.training.module import LikelihoodTraining, WeightEMA
from pixelrnn.training.recipe import ModelConfig, Recipe, TrainConfig, resolve
from pixelrnn.training.records import Checkpoints, Metrics
from pixelrnn.training.run_folder import RunFolder, plain

# Advice to load images with worker processes, though ours are in memory; and warnings for the libraries' developers.
LIBRARY_WARNINGS = ".*does not have many workers|'set_vital' is deprecated|.*LeafSpec.* is deprecated"


def fit(recipe: Recipe, path: Path, *, resume: bool = False) -> ImageModel:
    """Trains the model of a recipe and returns the best one by validation.

    Args:
        recipe: the model, the data and the optimisation.
        path: the run folder: new or empty, or with ``resume`` the folder of the run to continue.
        resume: continue from the folder's last checkpoint, with the recipe of the run. Only ``data.path``,
            ``train.epochs``, ``train.device`` and ``train.sample_every`` may differ from it. On the same CPU the
            weights then equal, bit for bit, those of a run that was never stopped.

    Raises:
        InputError: the recipe or the data are not valid; the folder is not empty, or holds no run to resume; another
            process trains in it; its checkpoint is damaged or belongs to another configuration; or the loss becomes NaN
            or infinite.
        OSError: the folder cannot be written to, or the disk is full. Earlier checkpoints stay whole.
        Stopped: SIGINT or SIGTERM arrived. The state was saved, unless the signal came before the first step.
    """
    run = RunFolder(path)
    run.check(resume=resume)
    if recipe.data.path is not None and Path(recipe.data.path).exists():  # the run may resume elsewhere
        recipe = replace(recipe, data=replace(recipe.data, path=str(Path(recipe.data.path).resolve())))
    if resume:
        run.check_recipe(recipe)
    resolve(recipe.train.device)  # before anything is written
    data = load(recipe.data)
    keep_freed()
    pl.seed_everything(recipe.train.seed, verbose=False)
    model = build(recipe, data)
    if not resume and recipe.train.start is not None:
        _start_from(recipe.train.start, model)
    with run.locked(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", LIBRARY_WARNINGS)
        run.check(resume=resume)  # again: another process may have trained here until now
        run.clear(resume=resume)
        _run(recipe, run, data, model, resume=resume)
        _export_best(model, run)
    return model.eval()


def build(recipe: Recipe, data: Data) -> ImageModel:
    """Builds the model of a recipe for these images. Raises InputError if the recipe does not fit them."""
    options = asdict(recipe.model)
    labels, factors, scale = options.pop("labels"), options.pop("factors"), recipe.train.scale
    if labels and data.classes is None:
        raise InputError(f"model.labels needs labels, but the images ({data.protocol}) have none")
    if scale is not None and not factors:
        raise InputError("train.scale needs model.factors")
    check_number("train.scale", scale or 0, least=0, most=len(factors))
    options |= {"channels": data.channels, "levels": data.levels, "size": data.size}
    options["classes"] = data.classes if labels else None
    return MultiScalePixelRNN(factors=factors, **options) if factors else PixelRNN(**options)


def _start_from(name: str, model: ImageModel) -> None:
    """Copies the weights of another model. Its size and dropout may differ, and it may have fewer orders: one."""
    with input_error("train.start", InputError):
        started = models.from_pretrained(name)
    same = {"size", "dropout", "orders"} if started.orders == 1 else {"size", "dropout"}
    for key in sorted((model.config.keys() | started.config.keys()) - same):
        own, other = model.config.get(key), started.config.get(key)
        if own != other:
            way = f": pass model.{key} {other}" if hasattr(ModelConfig, key) else ""
            raise InputError(f"train.start {name} has {key} {other}, expected {own} like the new model{way}")
    weights = started.state_dict()
    if model.orders > started.orders:
        # The order comes last among the conditions. With zero weights it changes nothing yet.
        for key, own in model.state_dict().items():
            if key.endswith("condition.weight"):
                zeros = torch.zeros_like(own[:, -model.orders :])
                weights[key] = torch.cat([weights[key], zeros], dim=1) if key in weights else zeros
    fill(model, weights, source=name)


def _export_best(model: ImageModel, run: RunFolder) -> None:
    if run.best.is_file():
        fill(model, averaged_weights(run.best), source=str(run.best))
        model.save_pretrained(run.model)


def _run(recipe: Recipe, run: RunFolder, data: Data, model: ImageModel, *, resume: bool) -> None:
    train = recipe.train
    training = _loader(data, train)
    # Validation keeps no gradients, so its batches may be larger.
    validation = DataLoader(data.valid, batch_size=4 * train.batch, collate_fn=_whole)

    module = LikelihoodTraining(model, train, steps=len(training) * train.epochs)
    sample_every = train.sample_every if data.channels in (1, 3) else 0  # only these are drawable
    checkpoints = Checkpoints(run, sample_every=sample_every, seed=train.seed, recipe=json.dumps(plain(recipe)))
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with on_signals(checkpoints.on_signal, signal.SIGINT, signal.SIGTERM):
        trainer = pl.Trainer(
            accelerator=resolve(train.device),
            devices=1,
            precision="32-true" if train.precision == "float32" else "bf16-mixed",
            max_epochs=train.epochs,
            gradient_clip_val=train.clip or None,
            logger=Curves(run.tensorboard),
            callbacks=_callbacks(train, run, checkpoints, data),
            plugins=[CheckedCheckpoints()],
            enable_checkpointing=False,
            enable_progress_bar=sees_progress(),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=min(10, len(training)),
        )
        if resume:
            another = _loader(data, train)
            next(iter(another))
            check(run.last, trainer, module, loader=another.state_dict())
            _export_best(model, run)  # before the work, because it notices a damaged best.ckpt
        run.write_config(recipe)
        try:
            trainer.fit(module, training, validation, ckpt_path=str(run.last) if resume else None, weights_only=True)
        except BaseException:
            # However training ended, we export the best model so far. An error in that must not hide the first one.
            with suppress(Exception):
                _export_best(model, run)
            raise


def _loader(data: Data, train: TrainConfig) -> StatefulDataLoader:
    # The order of an epoch depends on the seed and its number alone. The loader's own shuffling shares a generator with
    # other draws: a resumed run would repeat the order of this epoch, but not of later ones.
    order = StatefulDistributedSampler(data.train, num_replicas=1, rank=0, shuffle=True, seed=train.seed)
    return StatefulDataLoader(data.train, batch_size=train.batch, sampler=order, collate_fn=_whole)


def _whole(batch: Any) -> Any:
    """Returns the batch itself, because `Images` gives whole batches."""
    return batch


def _callbacks(train: TrainConfig, run: RunFolder, checkpoints: Checkpoints, data: Data) -> list[pl.Callback]:
    callbacks: list[pl.Callback] = [LearningRateMonitor("step")]
    if sees_progress():
        callbacks.append(RichProgressBar(console_kwargs={"stderr": True}))
    if train.ema:
        callbacks.append(WeightEMA(train.ema))
    # Checkpoints are last, so that they save the updated state of the other callbacks.
    return [*callbacks, Metrics(run, dimensions=data.train.dimensions, scale=train.scale), checkpoints]
