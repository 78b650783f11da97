"""Which implementation computes: the equations as they read, a backward pass by hand, or compiled C++."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor

from pixelrnn.compiled import BuildError, operators
from pixelrnn.errors import InputError

Backend = Literal["auto", "reference", "manual", "compiled"]

_chosen: ContextVar[Backend] = ContextVar("backend", default="auto")


@contextmanager
def backend(name: Backend) -> Iterator[None]:
    """What all layers compute with in this block, of this thread: ``with backend("reference"): …``.

    Raises:
        InputError: an unknown backend.
    """
    if name not in get_args(Backend):
        raise InputError(f"unknown backend {name!r}: expected one of {', '.join(get_args(Backend))}")
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def choose(*operands: Tensor) -> Literal["reference", "manual", "compiled"]:
    """The backend for an operation: the one that was named, or the fastest that can run.

    That is the compiled one where all operands are float32, or all float64, on a CPU, and the manual one otherwise, or
    where there is no compiler, which is said once. Under the transforms of `torch.func` and while `torch.compile` looks
    on, which see through PyTorch's own operations only, it is the reference.

    Raises:
        InputError: the compiled backend was named and cannot run.
    """
    name = _chosen.get()
    kinds = {(x.device.type, x.dtype) for x in operands}
    fits = kinds in ({("cpu", torch.float32)}, {("cpu", torch.float64)})
    if name == "auto":
        if torch.compiler.is_compiling() or any(map(torch._C._functorch.is_functorch_wrapped_tensor, operands)):
            return "reference"
        return "compiled" if fits and _compiles() else "manual"
    if name == "compiled":
        if not fits:
            given = ", ".join(sorted({f"{x.dtype} on {x.device}" for x in operands}))
            raise InputError(f"the compiled backend is for float32 or float64 on a CPU, not {given}")
        try:
            operators()
        except BuildError as error:
            raise InputError(str(error)) from None
    return name


def autocast_to_bfloat16(device: torch.device) -> bool:
    """Whether `torch.autocast` asks for bfloat16, the only precision below float32 that products here follow."""
    available = torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
    return available and torch.get_autocast_dtype(device.type) == torch.bfloat16


@cache
def _compiles() -> bool:
    try:
        operators()
    except BuildError as error:
        warnings.warn(f"{error}; the manual backend, which is slower, is taken instead", stacklevel=2)
        return False
    return True
