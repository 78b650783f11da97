from collections.abc import Iterator
from typing import Any

import pytest
import torch

from pixelrnn.backend import _compiles, backend, choose
from pixelrnn.compiled import operators
from pixelrnn.errors import InputError


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CXX", "no-such-compiler")
    operators.cache_clear()
    _compiles.cache_clear()
    yield
    operators.cache_clear()
    _compiles.cache_clear()


def test_auto_takes_the_fastest_that_can_run() -> None:
    assert choose(torch.zeros(1)) == "compiled"
    assert choose(torch.zeros(1, dtype=torch.double)) == "compiled"
    assert choose(torch.zeros(1, dtype=torch.bfloat16)) == "manual"
    assert choose(torch.zeros(1, device="meta")) == "manual"


def test_one_that_is_named_is_taken_and_given_back() -> None:
    with backend("reference"):
        assert choose(torch.zeros(1)) == "reference"
        with backend("manual"):
            assert choose(torch.zeros(1)) == "manual"
        assert choose(torch.zeros(1)) == "reference"
    assert choose(torch.zeros(1)) == "compiled"


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_auto_says_once_that_it_is_slower() -> None:
    with pytest.warns(UserWarning, match=r"no-such-compiler is not there .*; the manual backend, .* is taken instead"):
        assert choose(torch.zeros(1)) == "manual"
    assert choose(torch.zeros(1)) == "manual"  # a second warning would be an error


@pytest.mark.usefixtures("no_compiler")
def test_one_that_is_named_and_cannot_run_is_an_error() -> None:
    with backend("compiled"), pytest.raises(InputError, match="needs a C\\+\\+ compiler"):
        choose(torch.zeros(1))
    with backend("compiled"), pytest.raises(InputError, match=r"for float32 and float64 on a CPU, not torch\.float16"):
        choose(torch.zeros(1, dtype=torch.float16))


@pytest.mark.usefixtures("as_a_user")
def test_an_unknown_one_is_refused() -> None:
    unknown: Any = "fast"
    with pytest.raises(InputError, match="unknown backend 'fast': expected one of auto, reference"), backend(unknown):
        pass
