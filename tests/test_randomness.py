import pytest
import torch

from pixelrnn import InputError
from pixelrnn.randomness import PartGenerator, generator, uniform_row


def test_a_seed_gives_the_same_numbers() -> None:
    first, second, other = (torch.rand(5, generator=generator(seed)) for seed in (3, 3, 2**32 - 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_named(seed: int) -> None:
    with pytest.raises(InputError, match=f"the seed must be from 0 to 4294967295, got {seed}"):
        generator(seed, "the seed")


def test_the_noise_of_rows_comes_in_the_order_of_generation() -> None:
    both = [uniform_row(3, 2, 4, generator=g, device=torch.device("cpu")) for g in [generator(0)] for _ in range(2)]
    assert torch.equal(torch.stack(both), torch.rand(2, 3, 2, 4, dtype=torch.double, generator=generator(0)))


def test_the_noise_for_a_device_without_float64_is_the_same_and_stays_on_the_cpu() -> None:
    for source in (generator(0), None):
        torch.manual_seed(0)
        noise = uniform_row(3, 2, 4, generator=source, device=torch.device("mps"))
        assert torch.equal(noise, torch.rand(3, 2, 4, dtype=torch.double, generator=generator(0)))


def test_the_images_of_a_part_have_the_noise_of_the_whole_batch() -> None:
    cpu = torch.device("cpu")
    whole, part = generator(3), PartGenerator(3, first=1, total=4)
    for _ in range(2):
        every = uniform_row(3, 2, 4, generator=whole, device=cpu)
        assert torch.equal(uniform_row(3, 2, 2, generator=part, device=cpu), every[:, :, 1:3])
