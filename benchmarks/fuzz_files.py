"""Gives malformed files and options to all commands.

    python benchmarks/fuzz_files.py 1000

Each trial damages one input of a command and runs it in a forked process. The command must end with one line on
standard error and a status other than 0. It may also succeed silently if the damage can be harmless (a flipped bit of a
pixel). No trial may take more than 10 s or 1 GB. The script prints faults, and then exits with status 1.
"""

import json
import os
import re
import resource
import shutil
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from PIL import Image

from pixelrnn import PixelRNN
from pixelrnn.cli import main
from pixelrnn.demo.page import page
from pixelrnn.training.fit import fit

SECONDS, KILOBYTES = 10, 1_000_000
LOADED = (page, fit, *map(import_module, ("pixelrnn.bench.plot", "pixelrnn.explain.context")))

# The file that a trial damages, and the commands that read it, in the folder that `prepare` fills.
DATA = ["--data.array-levels", "2", "--data", "array", "--data.path"]
TINY = ["--model.hidden", "2", "--train.epochs", "1", "--train.device", "cpu"]
IMAGES = ("a.png", "a.jpg", "a.gif", "a.bmp", "a.tiff", "a.webp", "a.ppm")
RUNS = [["evaluate", "run"], ["train", "--resume", "run", "--train.epochs", "2"]]
USES: dict[str, list[list[str]]] = {
    **{
        name: [
            ["evaluate", "model", "--images", name],
            ["complete", "model", "--images", name],
            ["complete", "model", "--mask", name, *DATA, "a.npz"],
            ["data", "--data", "folder", "--data.path", name],
        ]
        for name in IMAGES
    },
    "photos/3.png": [
        ["data", "--data", "folder", "--data.path", "photos"],
        ["train", "--data", "folder", "--data.path", "photos", *TINY],
        ["evaluate", "model", "--images", "photos"],
    ],
    "a.npz": [["data", *DATA, "a.npz"], ["evaluate", "model", *DATA, "a.npz"], ["train", *DATA, "a.npz", *TINY]],
    "a.npy": [["data", *DATA, "a.npy"], ["complete", "model", *DATA, "a.npy"], ["train", *DATA, "a.npy", *TINY]],
    "mnist/train-images-idx3-ubyte": [["data", "--data", "mnist", "--data.path", "mnist"]],
    "mnist/t10k-labels-idx1-ubyte.gz": [["data", "--data", "mnist", "--data.path", "mnist"]],
    "recipe.yaml": [["train", "recipe.yaml", "--train.epochs", "1"]],
    "run/config.yaml": RUNS,
    "run/checkpoints/last.ckpt": RUNS[1:],
    **{
        f"model/{name}": [
            ["sample", "model", "--n", "1"],
            ["evaluate", "model", *DATA, "a.npz"],
            ["complete", "model", "--images", "a.png"],
            ["train", "--train.start", "model", *DATA, "a.npz", *TINY],
            ["demo", "model", "--port", "0"],  # refused at once if the model is intact
            ["explain", "generation", "--model", "model"],
        ]
        for name in ("config.json", "model.safetensors")
    },
}
OPTIONS = [
    *(["sample", "model", o] for o in ("--n", "--height", "--width", "--temperature", "--seed", "--label", "--device")),
    *(
        ["complete", "model", *DATA, "a.npz", o]
        for o in ("--n", "--keep-rows", "--box", "--mask", "--split", "--images")
    ),
    *(["evaluate", "model", *DATA, "a.npz", o] for o in ("--batch", "--split", "--data.levels", "--data.valid")),
    *(["data", "--data", "folder", "--data.path", "photos", o] for o in ("--data.size", "--data.mode", "--data.key")),
    *(["bench", o] for o in ("--rounds", "--batch", "--side", "--layer", "--depth")),
    *(
        ["train", *DATA, "a.npz", o]
        for o in ("--model.depth", "--train.learning-rate", "--train.ema", "--model.factors")
    ),
    ["demo", "model", "--port"],
    ["explain"],
    ["nonsense"],
]
OUTPUTS = [
    ["sample", "model", "--n", "1", "--out"],
    ["complete", "model", "--images", "a.png", "--out"],
    ["evaluate", "model", "--images", "a.png", "--per-image"],
    ["data", *DATA, "a.npz", "--out"],
    ["bench", "--out"],
    ["train", *DATA, "a.npz", *TINY, "--run"],
]
WRONG: list[Any] = [
    *(
        0,
        -1,
        2,
        10**9,
        10**30,
        -(10**30),
        10**4500,
        0.5,
        1e308,
        float("nan"),
        float("inf"),
        True,
        None,
        "",
        "x",
        "\udcff",
    ),
    *(
        [],
        {},
        [[2], [2]],
        [1],
        ["a", "a"],
        {"a": 1},
        "0x" + "f" * 5000,
        "\0",
        "é" * 300,
        "9" * 5000,
        "../..",
        "/dev/zero",
    ),
]


class Outcome(NamedTuple):
    """How a command ended."""

    status: int
    errors: str
    seconds: float
    kilobytes: int

    def faults(self, *, may_pass: bool) -> list[str]:
        """Returns what is wrong with this outcome."""
        quiet = self.errors == "" if self.status == 0 else re.fullmatch(r"pixelrnn: [^\n]+\n", self.errors)
        return [
            *(["not one line"] if not quiet else []),
            *(["accepted"] if self.status == 0 and not may_pass else []),
            *([f"status {self.status}"] if self.status not in (0, 1, 2) else []),
            *(["slow"] if self.seconds > SECONDS else []),
            *(["large"] if self.kilobytes > KILOBYTES else []),
        ]


def prepare(folder: Path) -> None:
    """Fills a folder with intact inputs."""
    os.chdir(folder)
    bits = np.random.default_rng(0).integers(0, 2, (30, 8, 8), np.uint8)
    PixelRNN(levels=2, hidden=2, size=(8, 8)).save_pretrained("model")
    Path("photos").mkdir()
    for n in range(30):
        Image.fromarray(255 * bits[n]).save(f"photos/{n}.png")
    for name in IMAGES:
        Image.fromarray(255 * bits[0]).save(name)
    np.savez("a.npz", train=bits, valid=bits[:9], test=bits[:9])
    np.save("a.npy", bits)
    Path("mnist").mkdir()
    for split in ("train", "t10k"):
        numbers = [n.to_bytes(4, "big") for n in (2051, 30, 8, 8, 2049, 30)]
        Path(f"mnist/{split}-images-idx3-ubyte").write_bytes(b"".join(numbers[:4]) + bits.tobytes())
        import_module("gzip").open(f"mnist/{split}-labels-idx1-ubyte.gz", "wb").write(b"".join(numbers[4:]) + bytes(30))
    source = {"source": "array", "path": "a.npz", "array_levels": 2, "valid": 0.1}
    recipe = {"model": {"hidden": 2, "factors": []}, "data": source, "train": {"batch": 8, "ema": 0.9, "seed": 0}}
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert run(["train", "recipe.yaml", "--run", "run", "--train.epochs", "1"], folder).status == 0


def damage(path: Path, random: Random) -> bool:
    """Damages a file. Returns True if a command may still succeed."""
    whole = path.read_bytes()
    kinds: list[Callable[[Path, bytes, Random], bool]] = [cut, flip, noise, special, longer]
    if path.suffix in (".json", ".yaml"):
        kinds += [value] * 5
    if path.suffix in (".npz", ".npy"):
        kinds += [array] * 3
    path.unlink()
    return random.choice(kinds)(path, whole, random)


def cut(path: Path, whole: bytes, random: Random) -> bool:
    path.write_bytes(whole[: random.choice([0, 1, random.randrange(len(whole)), len(whole) - 1])])
    return path.suffix not in (
        ".safetensors",
        ".json",
        ".npz",
        ".npy",
        ".ckpt",
    )  # other formats may ignore the last byte


def flip(path: Path, whole: bytes, random: Random) -> bool:
    bit, flipped = random.randrange(8 * len(whole)), bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    path.write_bytes(flipped)
    return True


def noise(path: Path, whole: bytes, random: Random) -> bool:
    start = random.choice([0, 0, min(8, len(whole)), random.randrange(len(whole))])
    path.write_bytes(whole[:start] + random.randbytes(random.choice([1, 100, 10_000])))
    return start > 8 and path.suffix not in (".safetensors", ".json", ".npz", ".ckpt")


def longer(path: Path, whole: bytes, random: Random) -> bool:
    path.write_bytes(whole + random.choice([whole, bytes(1000), random.randbytes(1000), bytes(10**7)]))
    return True


def special(path: Path, whole: bytes, random: Random) -> bool:
    """Replaces the file with something that is not a regular file, or removes it."""
    kind = random.choice(["folder", "pipe", "socket", "device", "loop", "nowhere", "nothing", "sparse", "script"])
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.chdir(path.parent)  # the path of a socket must be short
        socket.socket(socket.AF_UNIX).bind(path.name)
    elif kind == "sparse":
        with path.open("wb") as file:
            file.write(whole[:8])
            file.truncate(20 * 10**9)
    elif kind == "script":
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n0 0 8 8 rectfill\nshowpage\n")
    elif kind != "nothing":
        path.symlink_to({"device": "/dev/zero", "loop": path.name, "nowhere": "missing"}[kind])
    return path.parent.name in ("photos", "mnist")  # these may be missing


def value(path: Path, whole: bytes, random: Random) -> bool:
    """Writes a wrong value into a recipe or a configuration."""
    config = json.loads(whole) if path.suffix == ".json" else yaml.safe_load(whole)
    section = random.choice(list(config)) if random.random() < 0.2 or path.suffix == ".json" else None
    place = config if section else random.choice([part for part in config.values() if isinstance(part, dict)])
    place[section or random.choice(list(place))] = wrong = random.choice(WRONG)
    sys.set_int_max_str_digits(0)
    text = json.dumps(config) if path.suffix == ".json" else yaml.dump(config)
    if path.suffix == ".yaml" and random.random() < 0.3:
        text += random.choice(
            ["\nx: &x [*x]", "\nx: !!set {a}", "\nx: !!binary a", "\n? [a]\n: b", "\n<<: {}", "\n---\na: 1"]
        )
    sys.set_int_max_str_digits(4300)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    return path.suffix == ".yaml" or wrong == json.loads(whole).get(section)


def array(path: Path, whole: bytes, random: Random) -> bool:
    """Writes an array that does not hold images of two levels."""
    wrong = random.choice(
        [
            *(
                np.zeros(shape, np.uint8)
                for shape in ((), (0,), (30,), (30, 8), (30, 8, 8, 5), (30, 8, 8, 1, 1), (30, 0, 8))
            ),
            *(np.zeros((30, 8, 8), kind) for kind in ("f4", "c8", "U3", "V2", "M8[s]", "S1", "i4,i4")),
            *(np.full((30, 8, 8), number) for number in (2, 255, -1, 2**40, np.nan, np.inf)),
        ]
    )
    with path.open("wb") as file:
        if path.suffix == ".npy":
            np.save(file, wrong)
        else:
            named: Any = {random.choice(["train", "valid", "arr", "é"]): wrong}
            np.savez(file, **named)
    return False


def trial(random: Random) -> tuple[list[str], bool]:
    """Damages an input in this folder. Returns a command that reads it, and True if the command may still succeed."""
    kind = random.random()
    if kind < 0.7:
        name = random.choice(list(USES))
        tokens = random.choice(USES[name])
        return tokens, damage(Path(name), random)
    if kind < 0.8:
        tokens = random.choice(OUTPUTS)
        out = random.choice(["", "photos", "a.npy", "a.png/x", "recipe.yaml", "/dev/full", "pipe", "x" * 300, "a.png"])
        os.mkfifo("pipe")
        return [*tokens, out], False
    tokens, wrong = (
        random.choice(OPTIONS),
        random.choice([-1, 10**12, "nan", "1e400", "x", "", "\udcff", "9" * 5000]),
    )
    return [*tokens, str(wrong)], tokens[-1] in ("--temperature", "--images", "--mask") and wrong == 10**12


def run(tokens: list[str], folder: Path) -> Outcome:
    """Runs a command in its own process."""
    begin = time.monotonic()
    if not (child := os.fork()):
        status = 70
        try:
            os.chdir(folder)
            os.dup2(os.open("stderr", os.O_WRONLY | os.O_CREAT), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            resource.setrlimit(resource.RLIMIT_DATA, (8 * 10**9, 8 * 10**9))  # protects the machine
            status = main(tokens)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    while not (ended := os.wait4(child, os.WNOHANG))[0]:
        if time.monotonic() - begin > SECONDS + 1:
            os.kill(child, 9)
        time.sleep(0.002)
    errors = (folder / "stderr").read_text(errors="surrogateescape")
    return Outcome(os.waitstatus_to_exitcode(ended[1]), errors, time.monotonic() - begin, ended[2].ru_maxrss)


def fuzz(trials: int, seed: int = 0) -> int:
    """Runs trials, and prints their faults and a summary. Returns the number of trials with a fault."""
    torch.set_num_threads(1)  # a forked process has only one
    os.environ |= {"HF_HUB_OFFLINE": "1", "HOME": "/nonexistent"}
    outcomes, faults = list[Outcome](), Counter[str]()
    with TemporaryDirectory() as scratch:
        (whole := Path(scratch) / "whole").mkdir()
        prepare(whole)
        for n in range(trials):
            shutil.copytree(whole, place := Path(scratch) / str(n))
            os.chdir(place)
            tokens, may_pass = trial(Random(f"{seed}/{n}"))
            outcomes.append(outcome := run(tokens, place))
            if found := outcome.faults(may_pass=may_pass):
                faults["; ".join(found)] += 1
                print(f"trial {n}: {', '.join(found)}: {tokens}\n{outcome.errors[-1500:]}", file=sys.stderr)
            os.chdir(scratch)
            shutil.rmtree(place)
    refused = sum(outcome.status != 0 for outcome in outcomes)
    print(
        f"{trials} trials: {refused} refused, {trials - refused} harmless, {faults.total()} faults {dict(faults)}; "
        f"at most {max(o.seconds for o in outcomes):.1f} s and {max(o.kilobytes for o in outcomes) / 1000:.0f} MB"
    )
    return faults.total()


if __name__ == "__main__":
    sys.exit(fuzz(int(sys.argv[1]) if len(sys.argv) > 1 else 1000) > 0)
