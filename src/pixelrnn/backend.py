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
    """What all layers compute with in this block, where it is not left to them: ``with backend("reference"): …``.

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


def choose(x: Tensor) -> Literal["reference", "manual", "compiled"]:
    """The backend for a tensor: the one that was named, or the fastest that can run.

    That is the compiled one for float32 and float64 on a CPU, and the manual one elsewhere, or where there is no
    compiler, which is said once. Under the transforms of `torch.func` it is the reference.

    Raises:
        InputError: the compiled backend was named and cannot run.
    """
    name = _chosen.get()
    fits = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    if name == "auto":
        if torch._C._functorch.is_functorch_wrapped_tensor(x):
            return "reference"
        return "compiled" if fits and _compiles() else "manual"
    if name == "compiled":
        if not fits:
            raise InputError(f"the compiled backend is for float32 and float64 on a CPU, not {x.dtype} on {x.device}")
        try:
            operators()
        except BuildError as error:
            raise InputError(str(error)) from None
    return name


@cache
def _compiles() -> bool:
    try:
        operators()
    except BuildError as error:
        warnings.warn(f"{error}; the manual backend, which is slower, is taken instead", stacklevel=2)
        return False
    return True
