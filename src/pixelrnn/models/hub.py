"""A model on the Hugging Face Hub: its two files, a picture of its samples, and a card that describes them."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch

from pixelrnn import __version__, pictures
from pixelrnn.errors import InputError

if TYPE_CHECKING:
    from pixelrnn.models.image_model import ImageModel

DRAWN = 16


def push(model: "ImageModel", name: str, *, about: str = "", private: bool = False) -> str:
    """Uploads a model; see `ImageModel.push_to_hub`."""
    from huggingface_hub import HfApi, errors  # here, as only models that come from or go to the Hub need it

    if name.count("/") != 1:
        raise InputError(f"cannot push to {name!r}, expected owner/name: the owner is your name on the Hub")
    with TemporaryDirectory(prefix="pixelrnn-") as beside:
        folder = Path(beside)
        model.save_pretrained(folder)
        drawable = _is_drawable(model)
        if drawable:
            labels = _labels(model)
            drawn = pictures.to_8_bit(model.sample(DRAWN, seed=0, labels=labels).cpu(), model.levels)
            names = pictures.class_names(model.classes, labels)
            pictures.save_grid(folder / "samples.png", drawn, captions=names)
        (folder / "README.md").write_text(card(model, name, about=about), encoding="utf-8")
        try:
            api = HfApi(library_name="pixelrnn", library_version=__version__)
            api.create_repo(name, private=private, exist_ok=True)
            api.upload_folder(repo_id=name, folder_path=folder, commit_message="Upload a model of pixelrnn")
        except (errors.HFValidationError, errors.HfHubHTTPError, errors.LocalTokenNotFoundError, OSError) as error:
            about_codes = "For more information check: "  # a page about HTTP, in a line of its own
            reason = " ".join(line for line in str(error).split("\n") if line and not line.startswith(about_codes))
            way = "log in with `hf auth login`, and check that the owner is you or an organization of yours"
            raise InputError(f"cannot push to {name}: {reason} To upload, {way}") from error
    return f"{api.endpoint}/{name}"


def card(model: "ImageModel", name: str, *, about: str = "") -> str:
    """The README.md of a model on the Hub: what it is, samples, how to use it, and then the text ``about`` it."""
    config = model.config
    drawable = _is_drawable(model)
    size = "×".join(map(str, model.size)) if model.size else "any size"
    scales = f", scales with the factors {', '.join(map(str, config['factors']))}" if "factors" in config else ""
    facts = {
        "network": f"{type(model).__name__}, {config['layer']}, {config['depth']} × h = {config['hidden']}{scales}",
        "weights": f"{model.open_weights:,}",
        "images": f"{size}, channels: {model.channels}, levels: {model.levels}",
        "classes": ", ".join(model.classes or ()),
        "orders of generation": str(model.orders) if model.orders > 1 else "",
    }
    lines = [
        "---",
        "library_name: pixelrnn",
        "pipeline_tag: unconditional-image-generation",
        "tags: [pixelrnn, density-estimation, autoregressive]",
        "---",
        "",
        f"# {name.rpartition('/')[2]}",
        "",
        "A density of images from *Pixel Recurrent Neural Networks* ([van den Oord et al.,",
        "2016](https://arxiv.org/abs/1601.06759)). It scores, samples and completes images.",
        "",
        *(f"- {what}: {value}" for what, value in facts.items() if value),
        "",
    ]
    if drawable:
        lines += ["![Samples](samples.png)", "", f"{DRAWN} samples, drawn with the seed 0.", ""]
    lines += ["## Use", "", f"Install pixelrnn {__version__} or newer, then:", "", *_code(model, name, drawable), ""]
    return "\n".join(lines) + (f"\n{about.strip()}\n" if about else "")


def _code(model: "ImageModel", name: str, drawable: bool) -> list[str]:
    given = f", labels=torch.arange({DRAWN}) % {len(model.classes)}" if model.classes else ""
    shape = f"({DRAWN}, {model.channels}, {', '.join(map(str, model.size))})" if model.size else ""
    code = ["from pixelrnn.models import from_pretrained", "", f'model = from_pretrained("{name}")']
    if model.classes and drawable:
        code.insert(0, "import torch")
    if drawable:
        code += [
            f"images = model.sample({DRAWN}, seed=0{given})  # uint8 {shape}, levels 0 to {model.levels - 1}",
            f"nats = -model.log_prob(images{given})  # ({DRAWN},): the exact −log p(x) of each image",
        ]
    return ["```python", *code, "```"]


def _is_drawable(model: "ImageModel") -> bool:
    """Whether we can draw samples: the size is known, files can hold the channels, and no map is needed."""
    return model.size is not None and model.channels in (1, 3) and not model.config.get("condition")


def _labels(model: "ImageModel") -> torch.Tensor | None:
    return torch.arange(DRAWN, device=model.device) % len(model.classes) if model.classes else None
