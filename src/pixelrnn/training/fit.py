"""Trains a model from a recipe and keeps it in a run folder."""

import json
import logging
import signal
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import loggers as lightning_loggers
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy

from pixelrnn import models
from pixelrnn.data import Data, load
from pixelrnn.errors import InputError, check_number, input_error, on_signals
from pixelrnn.models import ImageModel, MultiScalePixelRNN, PixelRNN
from pixelrnn.models.pretrained import fill
from pixelrnn.processes import Processes, joined, requeue_signals
from pixelrnn.progress import sees_progress
from pixelrnn.training.announce import Announcements, EpochBar
from pixelrnn.training.batches import Batches
from pixelrnn.training.checkpoint import CheckedCheckpoints, averaged_weights, check
from pixelrnn.training.curves import Curves
from pixelrnn.training.evaluation import check_fit
from pixelrnn.training.memory import keep_freed
from pixelrnn.training.module import LikelihoodTraining, WeightEMA
from pixelrnn.training.origin import origin
from pixelrnn.training.recipe import ModelConfig, Recipe, TrainConfig, resolve
from pixelrnn.training.records import Checkpoints, Metrics
from pixelrnn.training.run_folder import RunFolder, plain
from pixelrnn.training.stopping import Patience, requeuing

# Advice to combine metrics of processes, though every process logs those of the whole batch; to use srun, which may be
# there without SLURM; and warnings for the libraries' developers.
LIBRARY_WARNINGS = (
    "It is recommended to use `self.log|The `srun` command is available|'set_vital' is deprecated"
    "|.*LeafSpec.* is deprecated|`broadcast_buffers` is deprecated"
)


class Joined(LightningEnvironment):
    """The processes of the launcher, which Lightning need not start. It leaves the signals of SLURM to us."""

    def teardown(self) -> None:
        """Keeps the variables of the launcher, for another training in this process."""


def fit(
    recipe: Recipe,
    path: Path,
    *,
    resume: bool = False,
    force: bool = False,
    model: ImageModel | None = None,
    data: Data | None = None,
    callbacks: Sequence[pl.Callback] = (),
    loggers: Sequence[Logger] = (),
) -> ImageModel:
    """Trains the model of a recipe and returns the best one by validation.

    If torchrun or srun has started several processes, each of them calls this function, and computes its part of every
    batch. All of them return the same model.

    Args:
        recipe: the model, the data and the optimisation.
        path: the run folder: new or empty, or with ``resume`` the folder of the run to continue. All processes must see
            it, and only rank 0 writes into it.
        resume: continue from the folder's last checkpoint, with the recipe of the run. Only the options of
            `pixelrnn.training.run_folder.CHANGEABLE` may differ from it. On the same CPU and with the same number of
            processes, the weights then equal, bit for bit, those of a run that was never stopped.
        force: resume even if the images, or the version of PyTorch or of this package, are not those of the checkpoint.
        model: the model to train, instead of a new one as the recipe describes it.
        data: the images, instead of those that the recipe names. The run folder then records no source.
        callbacks: other callbacks of Lightning.
        loggers: other loggers of Lightning that get the metrics.

    Raises:
        InputError: the recipe or the data are not valid; the folder is not empty, or holds no run to resume; another
            process trains in it; its checkpoint is damaged, or belongs to another configuration, other images or other
            versions; the number of processes is not that of the recipe; or the loss becomes NaN or infinite.
        OSError: the folder cannot be written to, or the disk is full. Earlier checkpoints stay whole.
        Stopped: SIGINT or SIGTERM arrived at any process, or, in a job of SLURM, SIGUSR1, which also requeues the job.
            The state was saved, unless the signal came before the first step.
    """
    with requeuing(), joined() as processes, ExitStack() as stack:
        run, resume = RunFolder(path), processes.gather(resume)[0]
        with processes.agreed():
            processes.check(recipe.train.devices, recipe.train.nodes)
            # We do not record the number of processes: any number can resume.
            recipe = replace(recipe, train=replace(recipe.train, devices=None, nodes=None))
            if not processes.rank:
                run.check(resume=resume)
            if recipe.data.path is not None and Path(recipe.data.path).exists():  # the run may resume elsewhere
                recipe = replace(recipe, data=replace(recipe.data, path=str(Path(recipe.data.path).resolve())))
            if resume:
                run.check_recipe(recipe)
            resolve(recipe.train.device)  # before anything is written
            has_source = data is None
            data = load(recipe.data) if data is None else data
            own = origin(data)
            if resume and not force:
                run.check_origin(own)
            keep_freed()
            pl.seed_everything(recipe.train.seed, verbose=False)
            is_new = model is None and recipe.train.start is None
            if model is None:
                model = build(recipe, data)
            check_fit(model.train(), data)  # a model that was loaded has its dropout off
            if not resume and recipe.train.start is not None:
                _start_from(recipe.train.start, model)
            others = [*loggers, *_service(recipe.train.logger, run)]
        if any(images != own for images in processes.gather(own)):
            raise InputError("the processes read different images or run different versions: give all the same")
        with processes.agreed():
            if not processes.rank:
                stack.enter_context(run.locked())
                run.check(resume=resume)  # again: another process may have trained here until now
                run.clear(resume=resume)
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", LIBRARY_WARNINGS)
        how: dict[str, Any] = {"origin": json.dumps(own), "resume": resume, "has_source": has_source}
        _run(recipe, run, data, model, processes, callbacks=callbacks, loggers=others, is_new=is_new, **how)
        with processes.agreed():
            _export_best(model, run, processes)
        processes.copy_from_first(model)
    return model.eval()


def _service(name: str | None, run: RunFolder) -> list[Logger]:
    """The logger of a service."""
    how: dict[str, Any] = {"save_dir": str(run.logs), "project": "pixelrnn", "name": run.path.name}
    if name is None:
        return []
    if name == "mlflow":
        how = {"save_dir": str(run.logs), "experiment_name": "pixelrnn", "run_name": run.path.name}
    kinds = {"mlflow": "MLFlowLogger", "wandb": "WandbLogger"}
    try:
        return [getattr(lightning_loggers, kinds[name])(**how)]
    except ModuleNotFoundError as error:  # its message is a hint for pip too
        raise InputError(f"train.logger {name} needs its package: pip install {name}") from error


def build(recipe: Recipe, data: Data) -> ImageModel:
    """Builds the model of a recipe for these images. Raises InputError if the recipe does not fit them."""
    options = asdict(recipe.model)
    labels, factors, scale = options.pop("labels"), options.pop("factors"), recipe.train.scale
    if labels and data.classes is None:
        raise InputError(f"model.labels needs labels, but the images ({data.protocol}) have none{data.why_unlabelled}")
    if scale is not None and not factors:
        raise InputError("train.scale needs model.factors")
    check_number("train.scale", scale or 0, least=0, most=len(factors))
    options |= {"channels": data.channels, "levels": data.levels, "size": data.size}
    options["classes"] = data.classes if labels else None
    return MultiScalePixelRNN(factors=factors, **options) if factors else PixelRNN(**options)


def _start_from(name: str, model: ImageModel) -> None:
    """Copies the weights of another model. Its size and dropout may differ; it may have fewer layers, or one order.

    At first, the additional layers and orders change nothing: both models give the same densities.
    """
    with input_error("train.start", InputError):
        started = models.from_pretrained(name)
    depth, may_differ = started.config["depth"], {"size", "dropout"}
    if started.orders == 1:
        may_differ.add("orders")
    if depth < model.config["depth"] and model.config["residual"]:
        may_differ.add("depth")
    for key in sorted((model.config.keys() | started.config.keys()) - may_differ):
        own, other = model.config.get(key), started.config.get(key)
        if own != other:
            way = f": pass model.{key} {other}" if hasattr(ModelConfig, key) else ""
            raise InputError(f"train.start {name} has {key} {other}, expected {own} like the new model{way}")
    for network in model.modules():
        if isinstance(network, PixelRNN):  # an additional layer adds zeros to the residual stream and to the output
            for added in (*(block.transform[-1] for block in network.blocks[depth:]), *network.skips[depth:]):
                torch.nn.init.zeros_(added.weight)
                torch.nn.init.zeros_(added.bias)
    weights = started.state_dict()
    for key, initial in model.state_dict().items():
        if model.orders > started.orders and key.endswith("condition.weight"):  # the orders are the last conditions
            others, orders = initial[:, : -model.orders], initial[:, -model.orders :]
            weights[key] = torch.cat([weights.get(key, others), torch.zeros_like(orders)], dim=1)
        weights.setdefault(key, initial)
    fill(model, weights, source=name)


def _export_best(model: ImageModel, run: RunFolder, processes: Processes) -> None:
    if not processes.rank and run.best.is_file():
        fill(model, averaged_weights(run.best), source=str(run.best))
        model.save_pretrained(run.model)


def _run(
    recipe: Recipe,
    run: RunFolder,
    data: Data,
    model: ImageModel,
    processes: Processes,
    *,
    origin: str,
    resume: bool,
    has_source: bool,
    is_new: bool,
    callbacks: Sequence[pl.Callback],
    loggers: list[Logger],
) -> None:
    train = recipe.train
    # The order of an epoch depends on the seed and its number alone.
    training = Batches(data.train, train.batch, processes, seed=train.seed)
    # Validation keeps no gradients, so its batches may be larger.
    validation = Batches(data.valid, 4 * train.batch, processes)

    module = LikelihoodTraining(model, train, images=len(data.train), processes=processes)
    checkpoints = Checkpoints(
        run,
        # Only these are drawable.
        sample_every=train.sample_every if data.channels in (1, 3) and model.size is not None else 0,
        seed=train.seed,
        recipe=json.dumps(plain(recipe)),
        origin=origin,
        processes=processes,
    )
    metrics = Metrics(run, dimensions=data.train.dimensions, scale=train.scale, processes=processes)
    announcements = Announcements(data, processes, is_new=is_new)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with on_signals(checkpoints.on_signal, signal.SIGINT, signal.SIGTERM, *requeue_signals()):
        trainer: Any = pl.Trainer(
            accelerator=resolve(train.device),
            devices=processes.local_size,
            num_nodes=processes.nodes,
            strategy=_strategy() if processes.size > 1 else "auto",
            precision="32-true" if train.precision == "float32" else "bf16-mixed",
            max_epochs=train.epochs,
            accumulate_grad_batches=train.accumulate,
            gradient_clip_val=train.clip or None,
            logger=False if processes.rank else [Curves(run.tensorboard), *loggers],
            callbacks=_callbacks(train, processes, announcements, [*callbacks], metrics, checkpoints),
            plugins=[CheckedCheckpoints(), Joined()],
            enable_checkpointing=False,
            enable_progress_bar=sees_progress(),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=min(10, len(training)),
            default_root_dir=str(run.path),  # Lightning resumes from files named hpc_ckpt_… in the working directory
        )
        # Its handler of SIGTERM would exit with status 0 without saving, or wait in the handler for other processes.
        trainer._signal_connector.register_signal_handlers = lambda: None
        with processes.agreed():
            if resume:
                check(run.last, trainer, module, loader=training.state_dict(), others=callbacks)
                _export_best(model, run, processes)  # before the work, because it notices a damaged best.ckpt
            if not processes.rank:
                run.write_config(recipe, has_source=has_source)
        try:
            trainer.fit(module, training, validation, ckpt_path=str(run.last) if resume else None, weights_only=True)
        except BaseException:
            # However training ended, we export the best model so far. An error in that must not hide the first one.
            with suppress(Exception):
                _export_best(model, run, processes)
            raise


def _strategy() -> DDPStrategy:
    # Searching unused parameters keeps those without gradient out of a step (train.scale). It also keeps DDP from
    # sorting its buckets after the first step: a resumed run would then sum in another order.
    return DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)


def _callbacks(
    train: TrainConfig,
    processes: Processes,
    announcements: Announcements,
    others: list[pl.Callback],
    metrics: Metrics,
    checkpoints: Checkpoints,
) -> list[pl.Callback]:
    callbacks: list[pl.Callback] = []
    if not processes.rank:
        callbacks += [LearningRateMonitor("step"), announcements]
    if sees_progress():
        callbacks.append(EpochBar())
    if train.ema:
        callbacks.append(WeightEMA(train.ema))
    # Checkpoints are last, so that they save the updated state of the other callbacks.
    return [*callbacks, *others, Patience(train.patience), metrics, checkpoints]
