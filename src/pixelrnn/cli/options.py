"""Options that several commands share. This module and the commands' own import no PyTorch, so that help is fast."""

from typing import Annotated

from cyclopts import Parameter

from pixelrnn.data import DataConfig
from pixelrnn.training.recipe import Device, ModelConfig, TrainConfig

MODEL = (
    "a run folder, the folder of an exported model, a model that comes with the package, or one on the Hugging Face Hub"
)

ModelName = Annotated[str, Parameter(help=f"{MODEL[0].upper()}{MODEL[1:]}.")]
Labels = Annotated[tuple[str, ...], Parameter(name="--label", negative="")]
OnDevice = Annotated[Device, Parameter(help="Where to compute; auto takes a GPU if there is one.")]

# A dataclass has its own group of options in --help.
Network = Annotated[ModelConfig, Parameter(group="The network (channels, levels and size follow from the data)")]
Data = Annotated[DataConfig, Parameter(group="The images")]
Optimisation = Annotated[TrainConfig, Parameter(group="The optimisation")]
