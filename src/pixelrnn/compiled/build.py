"""Building the C++ of this folder on first use, for the processor at hand; the result is kept in the user's cache."""

import hashlib
import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from rich.console import Console

from pixelrnn.files import replacing

SOURCES = Path(__file__).parent
FLAGS = ("-std=c++20", "-O3", "-march=native", "-fopenmp", "-fPIC", "-fvisibility=hidden", "-shared")


class BuildError(RuntimeError):
    """The compiled backend cannot be built here."""


@cache
def operators() -> Any:
    """The operators, built if this processor, compiler and PyTorch have not had them yet.

    Raises:
        BuildError: there is no C++ compiler, or it fails.
    """
    try:
        library = _library()
        with FileLock(library.with_suffix(".lock")):
            if not library.is_file():
                console = Console(stderr=True)
                console.print("pixelrnn: compiling for this processor, once; it takes about 20 seconds")
                with console.status("compiling"):
                    _build(library)
        torch.ops.load_library(library)
    except OSError as error:
        raise BuildError(f"the compiled backend cannot be kept in the cache: {error}") from error
    return torch.ops.pixelrnn


def _library() -> Path:
    """Where the operators are kept: a name that changes with all that they depend on."""
    if (system := platform.system()) != "Linux":
        raise BuildError(f"the compiled backend is for Linux, this is {system}")
    made_of = [path.read_bytes() for path in sorted(SOURCES.glob("*.[ch]*"))]
    made_of += [part.encode() for part in (torch.__version__, _compiler(), *FLAGS, _processor())]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pixelrnn"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"operators-{hashlib.sha256(b'|'.join(made_of)).hexdigest()[:16]}.so"


def _compiler() -> str:
    compiler = os.environ.get("CXX") or "g++"
    if (path := shutil.which(compiler)) is None:
        raise BuildError(
            f"the compiled backend needs a C++ compiler: {compiler} is not there (set CXX to name another)"
        )
    return path


def _processor() -> str:
    """What -march=native depends on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _build(library: Path) -> None:
    root = Path(torch.__file__).parent
    with replacing(library) as temporary:
        command = [_compiler(), *FLAGS, f"-I{root / 'include'}", str(SOURCES / "operators.cpp"), "-o", str(temporary)]
        command += [f"-L{root / 'lib'}", "-ltorch_cpu", "-lc10"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
            raise BuildError(f"the compiled backend cannot be built: {command[0]}: {first}")
