"""Advice for arguments that a command does not have, or lacks."""

import difflib
import re
from pathlib import Path

from cyclopts import CycloptsError, MissingArgumentError, UnknownOptionError, UnusedCliTokensError

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


def message(error: CycloptsError) -> str:
    """The message about a wrong command line, with the way out where we know one."""
    if isinstance(error, UnknownOptionError):
        return _unknown(error)
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return _unused(error.unused_tokens[0], error)
    argument = error.argument
    if isinstance(error, MissingArgumentError) and argument is not None:
        name, (wanted, _) = argument.names[0], argument.token_count()
        if wanted > 1:
            return f"{name} takes {wanted} values, got {len(error.tokens_so_far)}"
        more = argument.parameter.help or _all_options([*(error.command_chain or ())])
        missing = f"{name} has no value" if argument.index is None else f"{name.strip('-').upper()} is missing"
        return f"{missing}. {more}"
    return str(error)


def _unused(token: str, error: CycloptsError) -> str:
    """The message about an argument that no parameter takes. It may be a path of images."""
    command = [*(error.command_chain or ())]
    if Path(token).exists() and command in (["train"], ["data"]):
        source = "--data folder " if command == ["data"] else ""
        return f"unexpected argument {token}: pass {source}--data.path {token} to name the images"
    return f"unexpected argument {token}. {_all_options(command)}"


def _all_options(command: list[str]) -> str:
    return f"`pixelrnn {' '.join([*command, '--help'])}` lists all options."


def _unknown(error: UnknownOptionError) -> str:
    """The message about an unknown option: its name, and the option that was probably meant or the way to all."""
    name = (error.token.keyword or error.token.value).split("=")[0]
    message = str(error).partition(" Did you mean ")[0]
    parts = [part.strip("-").replace("_", "-").lower() for part in re.findall(r"[\w-]+", name)]
    options = [x for argument in error.argument_collection if argument.parse for x in argument.names if x[:2] == "--"]
    if parts and (meant := _nearest(parts, options)):
        return f"{message} Did you mean {meant}?"
    return f"{message} {_all_options([*(error.command_chain or ())])}"


def _nearest(parts: list[str], options: list[str]) -> str | None:
    """The option of the same last part, of a synonym or of a similar one, if possible in the same section."""
    *section, word = parts
    if not section:  # a slip in the name of an option without a section, such as --splits
        short = [option for option in options if "." not in option]
        if near := difflib.get_close_matches(f"--{word}", short, n=1, cutoff=0.9):
            return near[0]
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
