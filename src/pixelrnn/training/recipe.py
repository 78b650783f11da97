"""A recipe: everything that defines a run. As YAML it is what `pixelrnn train` reads, and what a run folder records."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from cyclopts import Parameter

from pixelrnn.data import DataConfig
from pixelrnn.errors import InputError, check_number, input_error
from pixelrnn.files import opened

Device = Literal["auto", "cpu", "cuda"]

SHIPPED = {path.stem: path for path in sorted(Path(__file__).parents[1].glob("recipes/*.yaml"))}
"""The recipes that come with the package, by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The network; channels, levels and size follow from the data."""

    layer: Literal["diagonal-bilstm", "row-lstm", "pixel-cnn"] = "diagonal-bilstm"
    """The kind of layer (paper §3.1, §3.2, §3.5)."""
    hidden: int = 32
    """Features h of a layer; the residual stream has 2h."""
    depth: int = 1
    """Residual blocks."""
    head: int | None = None
    """Features between the two output convolutions, 2h if not given."""
    residual: bool = True
    """Add each block's input to its output (§3.3)."""
    skip: bool = True
    """Feed the output from every block (§3.3), not just the last."""
    dropout: float = 0.0
    """The part of each layer's features that training sets to zero, in each image others; the paper has none."""
    labels: bool = False
    """Condition on the class of each image, which the data must say."""
    factors: Annotated[tuple[int, ...], Parameter(negative="", consume_multiple=True)] = ()
    """Multi-Scale (§3.6): from each scale's image to the next; 4 draws 8×8, then 32×32; 2 2 also 16×16 between."""

    def __post_init__(self) -> None:
        # A recipe may be another's: these alone would fill the memory before anything else is refused.
        check_number("model.depth", self.depth, least=1, most=1000)
        check_number("model.hidden", self.hidden, least=1, most=4096)
        check_number("model.head", 1 if self.head is None else self.head, least=1, most=2**16)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """The optimisation."""

    epochs: int = 40
    """Passes over the training images."""
    batch: int = 32
    """Images per step."""
    optimizer: Literal["adam", "rmsprop", "soap"] = "adam"
    """adam, rmsprop as in the paper (§5.2), or soap, Adam in the eigenbasis of Shampoo: fewer steps, each slower."""
    learning_rate: float = 2e-3
    """Its highest value."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """After the warm-up: constant, or cosine, which falls to zero as the last step is done."""
    warmup: int = 0
    """Steps over which the learning rate rises from zero."""
    clip: float = 1.0
    """Largest norm of the gradient of the loss (nats per dimension); 0 does not clip."""
    ema: float = 0.999
    """Decay of the moving average of the weights, which is validated and exported; 0 takes the weights as they are."""
    seed: int = 0
    """Of the initial weights, the order of the images and the sample grids."""
    device: Device = "auto"
    """Where to train; auto takes a GPU if there is one."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of what the products of the forward and backward passes multiply; weights are float32. bfloat16 is faster where
    the processor has instructions for it (AVX512-BF16)."""
    start: str | None = None
    """The run folder, or exported model, whose weights training starts from."""
    scale: int | None = None
    """Train one scale of a Multi-Scale model, 0 for the smallest, and leave the others; jointly all if not given. The
    run's numbers are then of this scale's terms alone, though of all dimensions."""
    sample_every: int = 10
    """Epochs between grids of 16 samples; 0 draws none."""

    def __post_init__(self) -> None:
        check_number("train.epochs", self.epochs, least=1)
        check_number("train.batch", self.batch, least=1)
        check_number("train.learning_rate", self.learning_rate, above=0, most=10**6, whole=False)
        check_number("train.warmup", self.warmup, least=0)
        check_number("train.clip", self.clip, least=0, whole=False)
        check_number("train.ema", self.ema, least=0, below=1, whole=False)
        check_number("train.seed", self.seed, least=0, most=2**32 - 1)
        check_number("train.sample_every", self.sample_every, least=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that defines a run."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()


def find_recipe(name: str) -> Path:
    """A recipe file: the one of this path, or the one of this name that comes with the package."""
    if Path(name).is_file():
        return Path(name)
    if name not in SHIPPED:
        raise InputError(f"no recipe {name!r}: neither a file nor one of {', '.join(SHIPPED)}")
    return SHIPPED[name]


def read_recipe(path: Path) -> dict[str, dict[str, Any]]:
    """The sections of a recipe as they stand in the file; the command line checks what they hold."""
    # The parser of YAML raises many kinds of errors.
    with opened(path, most=2**16) as file, input_error(f"{path} is not YAML", Exception):
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
        wanted = "text, a number below 10¹⁰, or a list of them"
        raise InputError(f"{path} is no recipe: expected the sections model, data and train, each option {wanted}")
    return {name: section or {} for name, section in recipe.items()}


class _PlainLoader(yaml.SafeLoader):
    """YAML of scalars, lists and maps. Aliases, with which a few bytes can mean gigabytes, and tags are refused."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        loader: Any = self  # its type stubs leave this method out
        event = loader.peek_event()
        if event.anchor or getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(
                problem="aliases and tags have no place in a recipe", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)


# No merges either, no dates: other texts are text.
_PlainLoader.yaml_implicit_resolvers = {
    first: [each for each in known if each[0].rpartition(":")[2] in ("bool", "float", "int", "null")]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def resolve(device: Device) -> Literal["cpu", "cuda"]:
    """The device to compute on; ``"auto"`` takes a GPU if there is one. Raises InputError for one that is missing."""
    import torch  # here: `pixelrnn --help` reads this file too

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda cannot be used here: PyTorch finds no GPU")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
