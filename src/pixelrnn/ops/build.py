"""Compiles the C++ of `csrc` into the package. The build hook of the wheel calls `build` once per installation.

    python -m pixelrnn.ops

does the same by hand, after a compiler has been installed. Each instruction set gets its own library, so one wheel runs
at full speed on every processor. This module imports only the standard library: the build hook loads it alone.
"""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).parent / "csrc"
LIBRARIES = Path(__file__).parent / "lib"

# No contraction and no reordering, so all libraries compute the same bits.
FLAGS = ("-std=c++20", "-O3", "-ffp-contract=off", "-fPIC", "-fvisibility=hidden", "-shared", "-pthread")

# The instruction sets, fastest first: compiler options, and the flags of /proc/cpuinfo that they need.
VARIANTS: dict[str, tuple[tuple[str, ...], set[str]]] = {"default": ((), set())}
if platform.machine() in ("x86_64", "AMD64"):
    v3 = {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"}
    v4 = v3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
    wide = "-march=x86-64-v4", "-mtune=icelake-server"  # 2 to 4 % faster than the generic tuning, on Zen 4 too
    VARIANTS = {
        "x86-64-v4-bf16": ((*wide, "-mavx512bf16"), v4 | {"avx512_bf16"}),
        "x86-64-v4": (wide, v4),
        "x86-64-v3": (("-march=x86-64-v3",), v3),
    }


class BuildError(RuntimeError):
    """The library cannot be compiled; the message is one line."""


def sources() -> str:
    """A hash of the C++ sources and flags. A library with another hash is not loaded."""
    made_of = [path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.suffix in (".h", ".cpp")]
    return hashlib.sha256(b"\0".join([*made_of, *map(str.encode, FLAGS)])).hexdigest()[:16]


def build(folder: Path = LIBRARIES) -> list[Path]:
    """Compiles every variant into a folder, and replaces the libraries there atomically.

    Raises:
        BuildError: no C++ compiler is found, or it fails.
        OSError: the folder cannot be written to.
    """
    compiler = _compiler()
    folder.mkdir(parents=True, exist_ok=True)

    def one(variant: str) -> Path:
        return compile_library(folder / f"{variant}.so", *VARIANTS[variant][0], compiler=compiler)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, VARIANTS))


def compile_library(path: Path, *flags: str, compiler: list[str] | None = None) -> Path:
    """Compiles one library.

    Raises:
        BuildError: no C++ compiler is found, or it fails.
        OSError: the file cannot be written.
    """
    command = [*(compiler or _compiler()), *FLAGS, *flags, f'-DPIXELRNN_SOURCES="{sources()}"']
    with tempfile.TemporaryDirectory(prefix=".compiling-", dir=path.parent) as temporary:
        made = Path(temporary) / path.name
        done = subprocess.run(
            [*command, str(SOURCES / "kernels.cpp"), "-o", str(made)], capture_output=True, text=True, errors="replace"
        )
        if done.returncode or not made.is_file():
            said = done.stderr.strip() or f"exit status {done.returncode}"
            first = next((line for line in said.splitlines() if "error" in line), said[:200])
            raise BuildError(f"{command[0]} cannot compile {SOURCES / 'kernels.cpp'}: {first}")
        with made.open("ab") as file:
            file.write(hashlib.sha256(made.read_bytes()).digest())
            file.flush()
            os.fsync(file.fileno())  # a power cut leaves the old library or the new one
        made.replace(path)
    return path


def is_whole(data: bytes) -> bool:
    """Whether these are the bytes of a library as `compile_library` writes it: the last 32 are its SHA-256."""
    return hashlib.sha256(data[:-32]).digest() == data[-32:]


def _compiler() -> list[str]:
    """The command of the compiler: CXX if it is set, otherwise the first of g++, clang++ and c++ that is installed."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    for name in names:
        try:
            program, *options = shlex.split(name)
        except ValueError as error:
            raise BuildError(f"CXX is {name!r}, expected the command of a C++ compiler") from error
        if (path := shutil.which(program)) is not None:
            return [path, *options]
    raise BuildError(f"no C++ compiler found, tried {', '.join(names)}: install one, or set CXX to its command")
