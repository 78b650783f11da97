"""A recipe: everything that defines a run. As YAML it is what `pixelrnn train` reads, and what a run folder records."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from pixelrnn.data import DataConfig
from pixelrnn.devices import Device
from pixelrnn.errors import InputError
from pixelrnn.nn import LayerKind
from pixelrnn.randomness import check_seed


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The network; channels, levels and size follow from the data."""

    layer: LayerKind = "diagonal-bilstm"
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
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"train.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("warmup", "clip", "sample_every"):
            if not getattr(self, name) >= 0:
                raise InputError(f"train.{name} must not be negative, got {getattr(self, name)}")
        if not 0 < self.learning_rate <= 1e6:
            raise InputError(f"train.learning_rate must be above 0 and at most 1e6, got {self.learning_rate}")
        check_seed(self.seed, "train.seed")
        if not 0 <= self.ema < 1:
            raise InputError(f"train.ema must be from 0 to below 1, got {self.ema}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that defines a run."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
