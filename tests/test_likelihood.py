import inspect
import math

import pytest
import torch

from pixelrnn import InputError, likelihood
from pixelrnn.likelihood import bits_per_dim, draw, intensities, log_prob_map, log_probabilities, logits_per_channel
from tests.checks import OnMPS


def test_two_levels_are_a_bernoulli_variable() -> None:
    logits = torch.tensor([[-2.0], [0.0], [3.0]])
    p = log_probabilities(logits).exp()
    torch.testing.assert_close(p[:, 1], 1 / (1 + torch.exp(-logits[:, 0])))
    torch.testing.assert_close(p.sum(dim=1), torch.ones(3))
    assert logits_per_channel(2) == 1
    assert logits_per_channel(3) == 3


def test_extreme_logits_stay_finite() -> None:
    assert log_probabilities(torch.tensor([[-200.0], [200.0]])).isfinite().all()
    assert log_probabilities(torch.tensor([[-1e4, 1e4, 0.0]])).isfinite().all()


def test_log_prob_map_reads_the_level_of_each_sub_pixel() -> None:
    logits = torch.randn(2, 5, 3, 2, 2)
    x = torch.randint(5, (2, 3, 2, 2), dtype=torch.uint8)
    got = log_prob_map(logits, x)
    for b in range(2):
        for c in range(3):
            for i in range(2):
                for j in range(2):
                    row = logits[b, :, c, i, j]
                    expected = row[int(x[b, c, i, j])] - row.exp().sum().log()
                    assert got[b, c, i, j].item() == pytest.approx(expected.item(), abs=1e-5)


def test_half_precision_logits_give_float32() -> None:
    assert log_probabilities(torch.zeros(1, 4, dtype=torch.bfloat16)).dtype == torch.float32


def test_draws_have_the_probabilities() -> None:
    p = torch.tensor([0.1, 0.0, 0.6, 0.3])
    n = 50_000
    uniform = torch.rand(n, dtype=torch.double)
    x = draw(p.log().expand(n, 4), uniform)
    frequencies = torch.bincount(x.long(), minlength=4) / n
    assert frequencies[1] == 0
    torch.testing.assert_close(frequencies, p, rtol=0, atol=0.01)
    sharp = draw(p.log().expand(n, 4), uniform, temperature=0.5)
    torch.testing.assert_close(torch.bincount(sharp.long(), minlength=4) / n, p**2 / (p**2).sum(), rtol=0, atol=0.01)


def test_the_lowest_temperature_leaves_the_likeliest() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0]]).expand(50, 3)
    for temperature in (1e-3, 1e-40, 5e-324):
        assert (draw(logits, torch.rand(50, dtype=torch.double), temperature=temperature) == 1).all()


def test_what_has_no_probability_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, 0.0]])
    assert draw(logits, torch.zeros(1, dtype=torch.double)).item() == 1


def test_one_logit_is_drawn_as_a_bernoulli_variable() -> None:
    logits, uniform = torch.randn(1000, 1), torch.rand(1000, dtype=torch.double)
    expected = uniform >= 1 - logits[:, 0].double().sigmoid()
    assert torch.equal(draw(logits, uniform), expected.to(torch.uint8))


@pytest.mark.parametrize("levels", [1, 5])
def test_draws_leave_a_device_that_has_no_float64(levels: int) -> None:
    logits, uniform = torch.randn(50, levels), torch.rand(50, dtype=torch.double)
    assert torch.equal(draw(logits.as_subclass(OnMPS), uniform), draw(logits, uniform))


def test_the_expected_intensity() -> None:
    k = torch.randn(4, 5, 2, 3)
    assert torch.allclose(likelihood.expected(k), (k.softmax(dim=1) * (torch.arange(5) / 4)[:, None, None]).sum(dim=1))
    assert torch.allclose(likelihood.expected(k[:, :1]), k[:, 0].sigmoid())


def test_bits_per_dim() -> None:
    assert bits_per_dim(784 * math.log(2), 784) == pytest.approx(1)


def test_what_has_no_likelihood_is_refused() -> None:
    x = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    for call in (
        lambda: logits_per_channel(1),
        lambda: intensities(x, 1, torch.float32),
        lambda: bits_per_dim(1.0, 0),
        lambda: log_probabilities(torch.zeros(2, 0)),
        lambda: inspect.unwrap(log_prob_map)(torch.zeros(2, 3, 1, 2, 3), x),  # turns off the type checks of the tests
    ):
        with pytest.raises(InputError, match=r"must be at least|logits"):
            call()
