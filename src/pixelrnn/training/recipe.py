"""A recipe: everything that defines a run. `pixelrnn train` reads it as YAML, and a run folder records it."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from cyclopts import Parameter

from pixelrnn.data import DataConfig
from pixelrnn.data.config import Source
from pixelrnn.errors import InputError, check_choices, check_number, input_error
from pixelrnn.files import opened
from pixelrnn.processes import launched

Device = Literal["auto", "cpu", "cuda"]

SHIPPED = {path.stem: path for path in sorted(Path(__file__).parents[1].glob("recipes/*.yaml"))}
"""The recipes that come with the package, by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The network; channels, levels and size follow from the data."""

    layer: Literal["diagonal-bilstm", "row-lstm", "pixel-cnn"] = "diagonal-bilstm"
    """The kind of layer (paper §3.1, §3.2, §3.5)."""
    hidden: int = 32
    """The number h of features of a layer. The residual stream has 2h features."""
    depth: int = 1
    """The number of residual blocks."""
    head: int | None = None
    """The number of features between the two output convolutions. Default: 2h."""
    residual: bool = True
    """Add each block's input to its output (§3.3)."""
    skip: bool = True
    """Connect every block to the output (§3.3), not only the last one."""
    dropout: float = 0.0
    """The fraction of a layer's features that training sets to zero, drawn anew for each image. The paper uses no
    dropout."""
    labels: bool = False
    """Condition the model on the class of each image. The data must have labels."""
    orders: Literal[1, 2, 4, 8] = 1
    """The number of orders in which the model can generate an image: 1 is raster order, 2 adds its reverse, 4 starts at
    any corner, and 8 can also go column by column. Training draws an order for each image."""
    factors: Annotated[tuple[int, ...], Parameter(negative="", consume_multiple=True, show_default=False)] = ()
    """The factors between the scales of a Multi-Scale model (§3.6). For images of 32×32, 4 means 8×8, then 32×32; 2 2
    means 8×8, 16×16, then 32×32. Default: a single scale."""

    def __post_init__(self) -> None:
        check_choices("model", self)
        # A recipe may come from elsewhere. Large values of these would fill the memory before any other check.
        check_number("model.depth", self.depth, least=1, most=1000)
        check_number("model.hidden", self.hidden, least=1, most=4096)
        check_number("model.head", 1 if self.head is None else self.head, least=1, most=2**16)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """The optimisation."""

    epochs: int = 40
    """The number of passes over the training images."""
    batch: int = 32
    """The number of images per batch. Several processes share a batch."""
    accumulate: int = 1
    """The number of batches whose mean gradient makes a step. More of them need no more memory."""
    optimizer: Literal["adam", "rmsprop", "soap"] = "adam"
    """The optimiser. The paper uses rmsprop (§5.2). soap (Adam in Shampoo's eigenbasis) needs fewer, slower steps."""
    learning_rate: float = 2e-3
    """The highest learning rate of the schedule."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """The learning rate after the warm-up: constant, or cosine, which falls to zero at the last step."""
    warmup: int = 0
    """The number of steps over which the learning rate rises from zero."""
    clip: float = 1.0
    """The largest norm of the gradient, for a loss in nats per dimension. Larger gradients are scaled down to this
    norm; 0 does not clip."""
    ema: float = 0.999
    """The decay of the moving average of the weights. We validate and export this average; 0 averages nothing."""
    seed: int = 0
    """The seed of the initial weights, shuffling, the orders of generation, dropout and the sample grids."""
    device: Device = "auto"
    """The device to train on; auto takes a GPU if there is one."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """The number format of matrix products; weights stay float32. bfloat16 is faster on processors with
    AVX512-BF16."""
    start: str | None = None
    """The run folder or exported model whose weights training starts from. It may have fewer layers, or only raster
    order: additional layers and orders change nothing at first. Default: random weights."""
    scale: int | None = None
    """The scale of a Multi-Scale model to train; 0 is the smallest. The run's scores then count only the terms of this
    scale, but bits/dim still divides by all dimensions. Default: all scales together."""
    patience: int = 0
    """The number of epochs without a better validation score after which the run ends early; 0 runs all epochs."""
    sample_every: int = 10
    """The number of epochs between grids of 16 samples; 0 draws none."""
    logger: Literal["mlflow", "wandb"] | None = None
    """The service that also gets the metrics, if its package is installed. metrics.csv and the log for TensorBoard are
    always written."""
    devices: int | None = None
    """The number of processes on each machine: one for each GPU, or several that share the cores. Default: as many as
    torchrun or srun starts, or one."""
    nodes: int | None = None
    """The number of machines. torchrun or srun must start the processes on them. Default: as many as they start."""

    def __post_init__(self) -> None:
        check_choices("train", self)
        check_number("train.epochs", self.epochs, least=1)
        check_number("train.batch", self.batch, least=1)
        check_number("train.accumulate", self.accumulate, least=1)
        check_number("train.learning_rate", self.learning_rate, above=0, most=10**6, whole=False)
        check_number("train.warmup", self.warmup, least=0)
        check_number("train.clip", self.clip, least=0, whole=False)
        check_number("train.ema", self.ema, least=0, below=1, whole=False)
        check_number("train.seed", self.seed, least=0, most=2**32 - 1)
        check_number("train.patience", self.patience, least=0)
        check_number("train.sample_every", self.sample_every, least=0)
        check_number("train.devices", 1 if self.devices is None else self.devices, least=1)
        check_number("train.nodes", 1 if self.nodes is None else self.nodes, least=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that defines a run."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()


def find_recipe(name: str) -> Path:
    """The file ``name``, or the recipe of the package with this name. Raises InputError if there is neither."""
    if Path(name).is_file():
        return Path(name)
    if name in SHIPPED:
        return SHIPPED[name]
    if Path(name).is_dir():
        raise InputError(f"{name} is a folder, expected a recipe: pass the recipe photos, and data.path {name}")
    if name in get_args(Source):
        raise InputError(f"no recipe {name!r}, but a source of images: pass data.source {name}")
    near = [own for own in SHIPPED if own.startswith(name)] or difflib.get_close_matches(name, SHIPPED, n=1)
    if near:
        meant = " or ".join(sorted(near, key=len))
        raise InputError(f"no recipe {name!r}: did you mean {meant}? `pixelrnn recipes` lists all")
    raise InputError(f"no recipe {name!r}, expected a file or one of {', '.join(SHIPPED)}")


def read_recipe(path: Path) -> dict[str, dict[str, Any]]:
    """Reads the sections of a recipe; the command line checks the options in them. Raises InputError if damaged."""
    # The YAML parser raises many kinds of errors.
    with opened(path, most=2**16) as file, input_error(f"{path} is not valid YAML", Exception):
        recipe = yaml.load(file.read().decode(), _PlainLoader)

    def is_plain(value: object) -> bool:
        if isinstance(value, str):
            return bool(value.strip())
        return value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**10)

    def is_section(node: object, is_value: Callable[[object], bool]) -> bool:
        return isinstance(node, dict) and all(isinstance(key, str) and is_value(node[key]) for key in node)

    def is_option(value: object) -> bool:
        return all(map(is_plain, value)) if isinstance(value, list) else is_plain(value)

    if not is_section(recipe, lambda section: section is None or is_section(section, is_option)):
        wanted = "model, data and train with options that are text, numbers below 10¹⁰ or lists of these"
        raise InputError(f"{path} is not a recipe, expected the sections {wanted}")
    return {name: section or {} for name, section in recipe.items()}


def recipe_named(name: str) -> Recipe:
    """The recipe in the file ``name``, or that of the package. Raises InputError unless there is a valid one."""
    path, recipe = find_recipe(name), Recipe()
    sections: dict[str, Any] = {"model": recipe.model, "data": recipe.data, "train": recipe.train}
    for section, options in read_recipe(path).items():
        if section not in sections:
            raise InputError(f"{path} has a section {section}, expected model, data and train")
        sections[section] = changed(sections[section], section, options)
    return Recipe(**sections)


Config = TypeVar("Config", ModelConfig, DataConfig, TrainConfig)


def changed(config: Config, section: str, options: dict[str, Any]) -> Config:
    """A section of a recipe with other options. Raises InputError, with the name of the section, if one is unknown."""
    known = [field.name for field in fields(config)]
    sections = {"model": ModelConfig, "data": DataConfig, "train": TrainConfig}
    for name in options:
        if name not in known:
            meant = [
                f"{other}.{own.name}" for other, kind in sections.items() for own in fields(kind) if own.name == name
            ]
            meant += [f"{section}.{near}" for near in difflib.get_close_matches(name, known, n=1)]
            way = f": did you mean {meant[0]}?" if meant else f", expected one of {', '.join(known)}"
            raise InputError(f"no option {section}.{name}{way}")
    # YAML has lists where we have tuples.
    given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in options.items()}
    return replace(config, **given)


class _PlainLoader(yaml.SafeLoader):
    """Reads YAML of scalars, lists and maps. Refuses tags, and aliases, which turn a few bytes into gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        loader: Any = self  # its type stubs leave this method out
        event = loader.peek_event()
        if event.anchor or getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(problem="a recipe cannot use aliases or tags", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


# No merge keys and no dates either: any other scalar is text.
_PlainLoader.yaml_implicit_resolvers = {
    first: [each for each in known if each[0].rpartition(":")[2] in ("bool", "float", "int", "null")]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def resolve(device: Device) -> Literal["cpu", "cuda"]:
    """The device to compute on; ``"auto"`` takes a GPU if there is one.

    Raises InputError if the device is missing, or if this machine runs more processes of the command than it has GPUs.
    """
    import torch  # here, because `pixelrnn --help` imports this file too

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda is not available, PyTorch finds no GPU: choose cpu or auto")
    if device == "cpu" or not torch.cuda.is_available():
        return "cpu"
    processes, gpus = launched().local_size, torch.cuda.device_count()
    if processes > max(1, gpus):
        has = f"this machine runs {processes} processes, but has {gpus} GPU{'s' * (gpus > 1)}"
        raise InputError(f"{has}: start at most {gpus}, or choose device cpu")
    return "cuda"
