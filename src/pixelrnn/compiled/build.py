"""Building the C++ of this folder on first use, for the processor at hand; the result is kept in the user's cache."""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
from contextlib import suppress
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
        if not library.is_file():
            library.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(library.with_suffix(".lock")):
                console = Console(stderr=True)
                if not library.is_file():  # nor has another process built it meanwhile
                    console.print("pixelrnn: compiling for this processor, once; it takes about 20 seconds")
                    with console.status("compiling"):
                        _build(library)
    except (OSError, RuntimeError) as error:  # a RuntimeError where there is no home
        if isinstance(error, BuildError):
            raise
        raise BuildError(f"the compiled backend cannot be kept in the user's cache: {error}") from error
    try:
        torch.ops.load_library(library)
    except OSError as error:
        with suppress(OSError):
            library.unlink()  # to be built anew the next time
        raise BuildError(f"the compiled backend cannot be loaded: {error}") from error
    return torch.ops.pixelrnn


def _library() -> Path:
    """Where the operators are kept: a name that changes with all that they depend on."""
    if (system := platform.system()) != "Linux":
        raise BuildError(f"the compiled backend is for Linux, this is {system}")
    compiler = _compiler()
    version = Path(compiler[0]).resolve().stat().st_mtime_ns
    made_of = [path.read_bytes() for path in sorted(SOURCES.glob("*.[ch]*"))]
    made_of += [part.encode() for part in (torch.__version__, *compiler, str(version), *FLAGS, _processor())]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pixelrnn"
    return folder / f"operators-{hashlib.sha256(b'|'.join(made_of)).hexdigest()[:16]}.so"


def _compiler() -> list[str]:
    """The compiler's command: where it is, and what else CXX says."""
    given = os.environ.get("CXX") or "g++"
    try:
        program, *options = shlex.split(given)
    except ValueError as error:
        raise BuildError(f"the compiled backend needs a C++ compiler: CXX is {given!r}, which is no command") from error
    if (path := shutil.which(program)) is None:
        raise BuildError(f"the compiled backend needs a C++ compiler: {program} is not there (CXX names another)")
    return [path, *options]


def _processor() -> str:
    """What -march=native depends on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _build(library: Path) -> None:
    root = Path(torch.__file__).parent
    with replacing(library) as temporary:
        command = [*_compiler(), *FLAGS, f"-I{root / 'include'}", str(SOURCES / "operators.cpp"), "-o", str(temporary)]
        command += [f"-L{root / 'lib'}", "-ltorch_cpu", "-lc10"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not temporary.stat().st_size:
            said = done.stderr.strip() or f"exit status {done.returncode}"
            first = next((line for line in said.splitlines() if "error" in line), said[:200])
            raise BuildError(f"the compiled backend cannot be built: {command[0]}: {first}")
