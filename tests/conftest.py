"""Fixtures and settings of all tests."""

import itertools
from collections.abc import Iterator

import jaxtyping
import pytest
import torch

# Two test processes run on two cores.
torch.set_num_threads(1)
torch.manual_seed(0)  # also of models that parameters of tests build before the first test

CACHES = itertools.count()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of decoded images that no test shares, in this process and those that it starts.

    Only a test that decodes images makes the folder: pytest would list all others to find a free name.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "caches" / str(next(CACHES))))


@pytest.fixture
def as_a_user() -> Iterator[None]:
    """Turns off the shape checks, which only tests run, to see the errors of the library itself."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
