"""Fixtures and settings of all tests."""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch

# Two test processes run on two cores.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def as_a_user() -> Iterator[None]:
    """Turns off the shape checks, which only tests run, to see the errors of the library itself."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
