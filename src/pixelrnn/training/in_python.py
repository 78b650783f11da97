"""`pixelrnn.fit`: a whole training as one call, for programs and notebooks."""

from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args, get_type_hints

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from pixelrnn.data import Data, DataConfig
from pixelrnn.errors import InputError, Stopped
from pixelrnn.models import ImageModel
from pixelrnn.training import fit as training
from pixelrnn.training.recipe import ModelConfig, Recipe, TrainConfig, changed, recipe_named


def fit(
    recipe_or_model: Recipe | str | Path | ImageModel,
    data: Data | DataConfig | str | Path | None = None,
    *,
    callbacks: pl.Callback | Iterable[pl.Callback] = (),
    logger: Logger | Iterable[Logger] | str | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    **train: Any,
) -> ImageModel:
    """Trains a model and returns it with the weights of the epoch that has the best validation score.

    Like `pixelrnn train` it prints what it does, and Ctrl-C stops it.

    Args:
        recipe_or_model: a recipe, its name or its YAML file; or a model, whose own weights are trained.
        data: a folder of image files, a configuration, or images that are in memory already. Default: those that the
            recipe names.
        callbacks: callbacks of Lightning, ``EarlyStopping("valid/nats")`` for instance.
        logger: ``"wandb"`` or ``"mlflow"``, if its package is installed, or loggers of Lightning. They get the metrics
            and the options of the network and of the training.
        run: the run folder, new or empty. It holds what the folder of `pixelrnn train` holds. Default: a temporary
            folder, which is removed at the end; then a training that is stopped leaves nothing.
        resume: continue the run in the folder, with the same other arguments.
        train: options of `pixelrnn.training.recipe.TrainConfig`, such as ``epochs=3``. They override the recipe.

    Raises:
        InputError: an argument cannot be used; and all that `pixelrnn.training.fit.fit` raises.
    """
    if resume and run is None:
        raise InputError("resume continues the run in a folder: pass run")
    callbacks = [callbacks] if isinstance(callbacks, pl.Callback) else [*callbacks]
    if any(isinstance(each, pl.callbacks.Checkpoint) for each in callbacks):
        raise InputError(
            "callbacks has a ModelCheckpoint, but a run keeps checkpoints of its own: omit it and pass run"
        )
    loggers: list[Logger] = []
    if isinstance(logger, str):
        known = get_args(get_args(get_type_hints(TrainConfig)["logger"])[0])
        if logger not in known:
            own = "every run folder has metrics.csv and curves for TensorBoard"
            raise InputError(f"no logger {logger!r}, expected {', '.join(known)} or a logger of Lightning; {own}")
        train = {"logger": logger, **train}
    elif logger is not None:
        loggers = [logger] if isinstance(logger, Logger) else [*logger]
    model: ImageModel | None = None
    if isinstance(recipe_or_model, ImageModel):
        model = recipe_or_model
        recipe = Recipe(model=_described(model), data=_like(model))
        if data is None:
            raise InputError("data is missing: pass the images, because only a recipe names some")
    elif isinstance(recipe_or_model, str | Path):
        recipe = recipe_named(str(recipe_or_model))
    elif isinstance(recipe_or_model, Recipe):
        recipe = recipe_or_model
    else:
        kind = type(recipe_or_model).__name__
        raise InputError(f"the first argument is a {kind}, expected a recipe, its name or file, or a model")
    if data is not None and not isinstance(data, Data | DataConfig | str | Path):
        raise InputError(f"data is a {type(data).__name__}, expected a folder, a DataConfig or a pixelrnn.data.Data")
    if isinstance(data, str | Path):
        data = replace(recipe.data, path=str(data))
    if isinstance(data, DataConfig):
        recipe = replace(recipe, data=data)
    recipe = replace(recipe, train=changed(recipe.train, "train", train))
    given = data if isinstance(data, Data) else None
    how: dict[str, Any] = {"resume": resume, "callbacks": callbacks, "loggers": loggers, "model": model, "data": given}
    if run is not None:
        return training.fit(recipe, Path(run), **how)
    name = Path(recipe_or_model).stem if isinstance(recipe_or_model, str | Path) else "run"
    with TemporaryDirectory(prefix="pixelrnn-") as folder:
        try:
            return training.fit(recipe, Path(folder) / name, **how)
        except Stopped as stopped:
            raise Stopped(stopped.signum) from None  # nothing is saved


def _described(model: ImageModel) -> ModelConfig:
    """The section of a recipe that describes a model, as far as a recipe can."""
    options = {field.name: model.config[field.name] for field in fields(ModelConfig) if field.name in model.config}
    return changed(ModelConfig(), "model", options | {"labels": model.classes is not None})


def _like(model: ImageModel) -> DataConfig:
    """Image files as a model sees them."""
    return DataConfig(
        source="folder", size=model.size, levels=model.levels, mode="grey" if model.channels == 1 else "rgb"
    )
