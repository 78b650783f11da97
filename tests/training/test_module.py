import math
from typing import Any

import pytest
import torch
from pytorch_optimizer import SOAP

from pixelrnn import InputError, PixelRNN
from pixelrnn.training.batches import Part
from pixelrnn.training.module import LikelihoodTraining, WeightEMA, seed_step
from pixelrnn.training.recipe import TrainConfig


def module(**options: Any) -> LikelihoodTraining:
    config = TrainConfig(**{"epochs": 1, "batch": 1} | options)
    return LikelihoodTraining(PixelRNN(levels=4, hidden=2), config, images=20)


def rates(**options: Any) -> list[float]:
    configured = module(**options).configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    values = []
    for _ in range(20):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def test_the_learning_rate_warms_up_and_falls_as_a_cosine() -> None:
    values = rates(learning_rate=0.5, warmup=4)
    assert values[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert values[12] == pytest.approx(0.25)
    assert values[19] == pytest.approx(0.25 * (1 + math.cos(math.pi * 15 / 16)))
    assert rates(learning_rate=0.5, schedule="constant", warmup=1) == pytest.approx([0.25] + [0.5] * 19)


def test_the_optimizers() -> None:
    assert isinstance(module(optimizer="adam").configure_optimizers()["optimizer"], torch.optim.Adam)
    assert isinstance(module(optimizer="rmsprop").configure_optimizers()["optimizer"], torch.optim.RMSprop)
    assert isinstance(module(optimizer="soap").configure_optimizers()["optimizer"], SOAP)


def test_a_step_of_a_training_has_noise_of_its_own() -> None:
    drawn = {}
    for seed, step in [(0, 0), (0, 1), (1, 0), (1, 1), (2**32 - 1, 10**6)]:
        seed_step(seed, step)
        drawn[seed, step] = torch.rand(3).tolist()
        seed_step(seed, step)
        assert torch.rand(3).tolist() == drawn[seed, step]
    assert len({tuple(numbers) for numbers in drawn.values()}) == 5


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    broken = module()
    for parameter in broken.model.parameters():
        torch.nn.init.constant_(parameter, math.nan)
    with pytest.raises(InputError, match=r"the loss is nan at step 0: lower train\.learning_rate or train\.clip"):
        broken.training_step(Part(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), None, first=0, total=1), 0)


@pytest.mark.parametrize("accumulate", [1, 2, 3, 5, 99])
def test_the_gradients_of_the_batches_of_a_step_are_those_of_all_its_images(
    accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = module(batch=3, accumulate=accumulate)  # seven batches, and the last one has two images
    monkeypatch.setattr(own, "_log", lambda *_: None)
    x = torch.randint(4, (20, 1, 3, 3), dtype=torch.uint8)
    batches = [Part(part, None, first=0, total=len(part)) for part in x.split(3)]
    for first in range(0, 7, accumulate):
        own.zero_grad()
        for n, batch in [*enumerate(batches)][first : first + accumulate]:
            (own.training_step(batch, n)["loss"] / accumulate).backward()  # as Lightning does
        summed = [weight.grad.clone() for weight in own.parameters() if weight.grad is not None]
        own.zero_grad()
        (-own.model.log_prob(x[3 * first : 3 * (first + accumulate)]).mean() / 9).backward()
        whole = [weight.grad for weight in own.parameters() if weight.grad is not None]
        for a, b in zip(summed, whole, strict=True):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_the_moving_average_forgets_the_beginning() -> None:
    average = WeightEMA(0.9)._kwargs["avg_fn"]
    ema = torch.tensor(1.0)
    for n in range(1, 30):
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * ema + (1 - decay) * 5
        ema = average(ema, torch.tensor(5.0), torch.tensor(n))
        assert ema.item() == pytest.approx(expected.item())
    assert ema.item() == pytest.approx(5, abs=0.2)
