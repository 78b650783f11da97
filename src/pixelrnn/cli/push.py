"""The command that uploads a model."""

from typing import Annotated

from cyclopts import Parameter

from pixelrnn.cli import options
from pixelrnn.cli.commands import app


@app.command
def push(model: options.ModelName, name: str, /, *, private: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Upload a model to the Hugging Face Hub, with a card that tells its data, score, samples and use.

    Example: `pixelrnn push runs/digits owner/name`

    Log in first: `hf auth login`. Then everybody can load the model: `pixelrnn sample owner/name`. The card of a run
    holds its recipe; of local paths only the last name is shown.

    Args:
        name: The name of the model on the Hub: owner/name. If it exists, its files are replaced.
        private: If the name is new, only you can see the model.
    """
    from pixelrnn.models import from_pretrained
    from pixelrnn.models.pretrained import find
    from pixelrnn.training.card import about

    loaded, folder = from_pretrained(model), find(model)
    text = about(folder) if (folder / "config.yaml").is_file() else ""
    print(f"model: {loaded.push_to_hub(name, about=text, private=private)}")
