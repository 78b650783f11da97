"""What all tests share."""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch

# Two test processes share two cores.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def as_a_user() -> Iterator[None]:
    """Without the shape checks that only tests run, so that the library's own errors are seen."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
