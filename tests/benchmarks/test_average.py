import itertools

import pytest
import torch
from benchmarks.average import log_prob

from pixelrnn import PixelRNN
from pixelrnn.models import ImageModel


def test_the_average_is_a_density() -> None:
    models: list[ImageModel] = [PixelRNN(levels=2, hidden=3).double() for _ in range(3)]
    for parameter in (parameter for model in models for parameter in model.parameters()):
        torch.nn.init.normal_(parameter, std=0.5)
    images = torch.tensor(list(itertools.product([0, 1], repeat=6)), dtype=torch.uint8).reshape(-1, 1, 2, 3)
    average = log_prob(models, images)
    assert average.exp().sum().item() == pytest.approx(1)
    torch.testing.assert_close(log_prob(models[:1], images), models[0].log_prob(images))
    # At the first pixel it is the mean of the models' probabilities.
    first = torch.stack([model.log_prob_map(images)[:, 0, 0, 0] for model in models]).exp().mean(dim=0)
    white = images[:, 0, 0, 0] == 1
    assert average[white].exp().sum().item() == pytest.approx(first[white][0].item())
