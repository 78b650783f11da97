"""Options that several commands share. This module and the commands' own import no PyTorch, so that help is fast."""

from typing import Annotated

from cyclopts import Parameter

from pixelrnn.data import DataConfig, SplitName
from pixelrnn.training.recipe import Device, ModelConfig, TrainConfig

MODEL = (
    "a run folder, the folder of an exported model, a model that comes with the package, or one on the Hugging Face Hub"
)
SPLIT = "train, valid or test; of the run's images unless --data.source says otherwise"

ModelName = Annotated[str, Parameter(help=f"{MODEL[0].upper()}{MODEL[1:]}.")]
GreyModelName = Annotated[str, Parameter(help=f"A model of grey images: {MODEL}.")]
ModelNames = Annotated[
    tuple[str, ...],
    Parameter(
        negative="",
        help=f"A model of black and white images, whose gradients `influence` shows: {MODEL}. May be repeated; the "
        "first one also draws the digit of `generation`.",
    ),
]
Split = Annotated[SplitName, Parameter(help=f"{SPLIT}.")]
Splits = Annotated[tuple[SplitName, ...], Parameter(negative="", help=f"{SPLIT}. May be repeated.")]
Labels = Annotated[tuple[str, ...], Parameter(name="--label", negative="")]
Temperature = Annotated[float, Parameter(help="Below 1 for likelier images, 1 for the model's own distribution.")]
Seed = Annotated[int, Parameter(help="The same seed draws the same images.")]
OnDevice = Annotated[Device, Parameter(help="Where to compute; auto takes a GPU if there is one.")]

# A dataclass has its own group of options in --help.
Network = Annotated[ModelConfig, Parameter(group="The network (channels, levels and size follow from the data)")]
Data = Annotated[DataConfig, Parameter(group="The images")]
Optimisation = Annotated[TrainConfig, Parameter(group="The optimisation")]
