import pytest
import torch

from pixelrnn import InputError
from pixelrnn.randomness import generator


def test_a_seed_gives_the_same_numbers() -> None:
    first, second, other = (torch.rand(5, generator=generator(seed)) for seed in (3, 3, 2**32 - 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_named(seed: int) -> None:
    with pytest.raises(InputError, match=f"the seed must be from 0 to 4294967295, got {seed}"):
        generator(seed, "the seed")
