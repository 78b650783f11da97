"""Advice for options that a command does not have."""

import difflib
import re

from cyclopts import UnknownOptionError

# The last part of names that other programs use, and the last part of ours.
SYNONYMS = {
    "accelerator": "device",
    "batch-size": "batch",
    "channels": "mode",
    "count": "n",
    "cuda": "device",
    "dataset": "source",
    "dim": "hidden",
    "early-stopping": "patience",
    "force": "overwrite",
    "gpu": "device",
    "gpus": "devices",
    "image-size": "size",
    "init": "start",
    "kind": "layer",
    "layers": "depth",
    "lr": "learning-rate",
    "max-epochs": "epochs",
    "num": "n",
    "num-epochs": "epochs",
    "num-layers": "depth",
    "num-samples": "n",
    "number": "n",
    "optim": "optimizer",
    "output": "out",
    "pretrained": "start",
    "width-multiplier": "hidden",
}


def unknown(error: UnknownOptionError) -> str:
    """The message about an unknown option: its name, and the option that was probably meant or the way to all."""
    name = (error.token.keyword or error.token.value).split("=")[0]
    message = str(error).partition(" Did you mean ")[0]
    parts = [part.strip("-").replace("_", "-").lower() for part in re.findall(r"[\w-]+", name)]
    options = [x for argument in error.argument_collection if argument.parse for x in argument.names if x[:2] == "--"]
    if parts and (meant := _nearest(parts, options)):
        return f"{message} Did you mean {meant}?"
    return f"{message} `pixelrnn {' '.join([*(error.command_chain or ()), '--help'])}` lists all options."


def _nearest(parts: list[str], options: list[str]) -> str | None:
    """The option of the same last part, of a synonym or of a similar one, if possible in the same section."""
    *section, word = parts
    by_section = sorted(options, key=lambda option: not option.startswith("--" + ".".join([*section, ""])))
    words = {option: re.split(r"\.|--", option)[-1] for option in by_section}
    for wanted in (word, SYNONYMS.get(word)):
        for option, own in words.items():
            if own == wanted:
                return option
    near = difflib.get_close_matches(word, [*words.values()], n=1, cutoff=0.7)
    if near:
        return next(option for option, own in words.items() if own == near[0])
    return next(iter(difflib.get_close_matches("--" + ".".join(parts), options, n=1, cutoff=0.8)), None)
