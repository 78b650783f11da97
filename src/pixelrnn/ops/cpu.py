"""The operators in C++ (`csrc`), called through a flat interface of pointers and sizes. CPU, float32 and float64. With
``bfloat16`` factors, products are summed in float32.

Each thread carries a few images through the whole scan, row by row in raster order. In this order every tap is computed
before it is read, so threads need no barriers. See docs/operators.md. `pixelrnn.ops.kernels` checks the shapes.
"""

import ctypes
import logging
from contextlib import suppress
from ctypes import c_char_p, c_double, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pixelrnn.ops.build import LIBRARIES, VARIANTS, is_whole, sources
from pixelrnn.ops.lines import LAYERS

GRAIN = 16
"""Saved states are padded to a multiple of this many features, on every vector width."""

TYPES = torch.float32, torch.float64, torch.bfloat16
NUMBERS: dict[Any, int] = {name: number for names in (LAYERS, TYPES) for number, name in enumerate(names)}
"""The numbers that the C++ uses for the layers, and for the types of the factors."""

STATUS = {2: "out of memory", 3: "internal error"}


def load(path: Path) -> ctypes.CDLL:
    """Loads a library and declares its functions.

    Raises:
        OSError: the library is damaged, or built for another machine.
        AttributeError: a function is missing.
    """
    if not is_whole(path.read_bytes()):  # the loader would map a file that was cut off, and reading it ends the process
        raise OSError("its checksum does not match")
    library, size, pointer = ctypes.CDLL(str(path)), c_int64, c_void_p
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "sources": (c_char_p, []),
        "lend_threads": (None, [pointer]),
        "line_lstm": (c_int, [size] * 8 + [pointer] * 7),
        "line_lstm_backward": (c_int, [size] * 8 + [pointer] * 12),
        "conv": (c_int, [size] * 10 + [pointer] * 5),
        "conv_backward": (c_int, [size] * 10 + [pointer] * 6),
        "network": (pointer, [*[size] * 4, c_double, size]),
        "network_free": (None, [pointer]),
        "network_input": (c_int, [pointer, pointer, size, size]),
        "network_relu": (c_int, [pointer, *[size] * 4]),
        "network_concatenate": (c_int, [pointer, *[size] * 5]),
        "network_conv": (c_int, [pointer, size, *[pointer] * 3, *[size] * 3, pointer, *[size] * 3]),
        "network_line_lstm": (c_int, [pointer, size, size, *[pointer] * 5, *[size] * 3]),
        "network_begin": (c_int, [pointer] * 4),
        "network_next": (c_int, [pointer, pointer, size, c_double, pointer]),
        "network_back": (c_int, [pointer, size, size]),
        "weights": (c_int, [size, size, pointer, pointer]),
        "network_row": (c_int, [*[pointer] * 7, c_double]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"pixelrnn_{name}")
        function.restype, function.argtypes = result, arguments
    # Share PyTorch's GNU OpenMP threads: two pools on the same cores would wait for each other.
    with suppress(OSError, AttributeError):
        torch_cpu = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        library.pixelrnn_lend_threads(ctypes.cast(torch_cpu.GOMP_parallel, c_void_p))
    return library


def _choose() -> tuple[ctypes.CDLL | None, str]:
    """The fastest library that this processor can run, and its instruction set; or None and the reason."""
    flags, info = set[str](), Path("/proc/cpuinfo")
    if info.is_file():
        with info.open(encoding="utf-8", errors="replace") as lines:
            flags.update(next((line for line in lines if line.startswith("flags")), "").split())
    fitting = [name for name, (_, needed) in VARIANTS.items() if needed <= flags]
    if not fitting:
        return None, "this processor has no AVX2" if flags else "/proc/cpuinfo does not list the processor's flags"
    wrong = "it was not compiled during the installation of pixelrnn"
    for path in [path for name in fitting if (path := LIBRARIES / f"{name}.so").is_file()]:
        try:
            library = load(path)
        except (OSError, AttributeError) as error:
            wrong = f"{path} is damaged ({error})"
            continue
        if library.pixelrnn_sources().decode() == sources():
            return library, path.stem
        wrong = f"{path} was compiled from other sources"
    return None, wrong


library, variant = _choose()
"""The library and its instruction set; or None and the reason."""

available = library is not None


@cache
def say_what_is_missing() -> None:
    """Warns once per process that everything is slower, and says what to do."""
    logging.getLogger("pixelrnn").warning(
        "pixelrnn runs without its compiled library: %s. Training takes 2 to 4 times as long, sampling 20 times. "
        "Install a C++ compiler and run: python -m pixelrnn.ops",
        variant,
    )


def call(name: str, *arguments: Any) -> bool:
    """Calls a function of the library. Passes tensors as addresses, layers and types as numbers.

    Returns and raises as `check`.
    """
    held, given = [], []  # keeps the contiguous copies alive during the call
    for a in arguments:
        if isinstance(a, Tensor):
            held.append(a := a.contiguous())
            a = a.data_ptr()
        given.append(NUMBERS.get(a, a))
    return check(getattr(library, f"pixelrnn_{name}")(*given))


def check(status: int) -> bool:
    """Reads the status that a function of the library returned.

    Returns:
        True if the function found NaN or infinity in its result; only ``network_row`` and ``network_next`` look.

    Raises:
        MemoryError: the library ran out of memory.
        RuntimeError: any other failure.
    """
    if status > 1:
        raise (MemoryError if status == 2 else RuntimeError)(f"pixelrnn's compiled library: {STATUS[status]}")
    return bool(status)
