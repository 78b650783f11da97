import pytest
import torch

from pixelrnn import InputError
from pixelrnn.randomness import Noise, PartGenerator, generator


def test_a_seed_gives_the_same_numbers() -> None:
    first, second, other = (torch.rand(5, generator=generator(seed)) for seed in (3, 3, 2**32 - 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_named(seed: int) -> None:
    with pytest.raises(InputError, match=f"the seed must be from 0 to 4294967295, got {seed}"):
        generator(seed, "the seed")


CPU = torch.device("cpu")


def noise_of(batch: int, source: torch.Generator | None, device: torch.device = CPU) -> torch.Tensor:
    """The noise of two rows of three pixels with two channels."""
    noise = Noise(batch, generator=source, device=device)
    return torch.stack([noise.row(3, 2) for _ in range(2)])


def test_the_noise_of_an_image_does_not_depend_on_the_number_of_images() -> None:
    eight = noise_of(8, generator(0))
    for n in (1, 4, 7):
        assert torch.equal(noise_of(n, generator(0)), eight[..., :n])
    assert not torch.equal(noise_of(8, generator(1)), eight)


def test_batches_images_rows_and_sub_pixels_have_noise_of_their_own() -> None:
    source = generator(0)
    numbers = torch.stack([noise_of(50, source) for _ in range(5)])
    assert len(numbers.unique()) == numbers.numel() == 5 * 2 * 3 * 2 * 50
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert numbers.mean().item() == pytest.approx(0.5, abs=0.03)
    assert numbers.std().item() == pytest.approx(12**-0.5, abs=0.02)


def test_the_noise_for_a_device_without_float64_is_the_same_and_stays_on_the_cpu() -> None:
    for source in (generator(0), None):
        torch.manual_seed(0)
        assert torch.equal(noise_of(4, source, torch.device("mps")), noise_of(4, generator(0)))


def test_the_images_of_a_part_have_the_noise_of_the_whole_batch() -> None:
    whole, part = noise_of(4, generator(3)), noise_of(2, PartGenerator(3, first=1))
    assert torch.equal(part, whole[..., 1:3])
