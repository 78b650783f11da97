"""The operators in C++ (`csrc`), called through a flat interface of pointers and sizes. CPU, float32 and float64; with
``bfloat16``, products of bfloat16 numbers that are summed in float32.

A thread carries a few images at a time through the whole scan, row after row in raster order, which respects every tap:
no lines, no barriers. See docs/operators.md. Shapes are those of `pixelrnn.ops`, which checks them.
"""

import ctypes
import logging
import struct
from contextlib import suppress
from ctypes import c_char_p, c_double, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pixelrnn.ops.build import LIBRARIES, VARIANTS, sources
from pixelrnn.ops.lines import LAYERS

GRAIN = 16
"""Features of saved states are padded to a multiple of this, whatever the width of the vectors."""

TYPES = torch.float32, torch.float64, torch.bfloat16
NUMBERS: dict[Any, int] = {name: number for names in (LAYERS, TYPES) for number, name in enumerate(names)}
"""The numbers in C++ of each layer, and of each type of the factors of products."""

STATUS = {2: "memory is short", 3: "an internal error"}


def _is_cut(data: bytes) -> bool:
    """Whether a part of a library that would be mapped is missing: to read it would end the process by SIGBUS."""
    if not data.startswith(b"\x7fELF\2\1"):  # 64 bits, little-endian; the loader says what is wrong with others
        return False
    try:
        [begin], (entry, n) = struct.unpack_from("<Q", data, 32), struct.unpack_from("<HH", data, 54)
        segments = [struct.unpack_from("<8xQ16xQ", data, begin + entry * k) for k in range(n)]
    except struct.error:
        return True
    return any(offset + size > len(data) for offset, size in segments)


def load(path: Path) -> ctypes.CDLL:
    """A library, its functions declared.

    Raises:
        OSError: it is damaged, or not for this machine.
        AttributeError: a function is missing.
    """
    if _is_cut(path.read_bytes()):
        raise OSError("it was cut off")
    library, size, pointer = ctypes.CDLL(str(path)), c_int64, c_void_p
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "sources": (c_char_p, []),
        "lend_threads": (None, [pointer]),
        "line_lstm": (c_int, [size] * 8 + [pointer] * 7),
        "line_lstm_backward": (c_int, [size] * 8 + [pointer] * 12),
        "conv": (c_int, [size] * 10 + [pointer] * 5),
        "conv_backward": (c_int, [size] * 10 + [pointer] * 6),
        "network": (pointer, [size, size, size, c_double, size]),
        "network_free": (None, [pointer]),
        "network_input": (c_int, [pointer, *[size] * 3]),
        "network_relu": (c_int, [pointer, *[size] * 4]),
        "network_concatenate": (c_int, [pointer, *[size] * 5]),
        "network_conv": (c_int, [pointer, size, pointer, pointer, *[size] * 8]),
        "network_line_lstm": (c_int, [pointer, size, size, *[pointer] * 4, *[size] * 4]),
        "network_row": (c_int, [*[pointer] * 7, size, size, c_double]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"pixelrnn_{name}")
        function.restype, function.argtypes = result, arguments
    # PyTorch's own threads, where they are those of GNU OpenMP: two pools would wait for each other.
    with suppress(OSError, AttributeError):
        torch_cpu = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        library.pixelrnn_lend_threads(ctypes.cast(torch_cpu.GOMP_parallel, c_void_p))
    return library


def _choose() -> tuple[ctypes.CDLL | None, str]:
    """The fastest library that this processor can run, and its instruction set; or None, and why."""
    flags, info = set[str](), Path("/proc/cpuinfo")
    if info.is_file():
        with info.open(encoding="utf-8", errors="replace") as lines:
            flags.update(next((line for line in lines if line.startswith("flags")), "").split())
    fitting = [name for name, (_, needed) in VARIANTS.items() if needed <= flags]
    if not fitting:
        return None, "this processor has no AVX2" if flags else "/proc/cpuinfo does not say what this processor has"
    wrong = "it was not compiled when pixelrnn was installed"
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
"""The library and its instruction set; without one, why there is none."""

available = library is not None


@cache
def say_what_is_missing() -> None:
    """Says, once per process, that everything is slower, and what to do."""
    logging.getLogger("pixelrnn").warning(
        "pixelrnn runs without its compiled library: %s. Training takes 2 to 4 times as long, sampling 20 times. "
        "Install a C++ compiler and run: python -m pixelrnn.ops",
        variant,
    )


def call(name: str, *arguments: Any) -> bool:
    """Calls a function of the library, with the addresses of tensors and the numbers of layers and types.

    Returns:
        Whether something that was computed is not finite, where the function looks.

    Raises:
        MemoryError: memory is short.
        RuntimeError: anything else went wrong.
    """
    held, given = [], []  # tensors, until the call is over
    for a in arguments:
        if isinstance(a, Tensor):
            held.append(a := a.contiguous())
            a = a.data_ptr()
        given.append(NUMBERS.get(a, a))
    status = getattr(library, f"pixelrnn_{name}")(*given)
    if status > 1:
        raise (MemoryError if status == 2 else RuntimeError)(f"pixelrnn's compiled library: {STATUS[status]}")
    return bool(status)
