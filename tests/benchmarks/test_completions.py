import itertools

import pytest
import torch
from benchmarks.completions import comes_first

from pixelrnn import PixelRNN
from pixelrnn.training.evaluation import unknown_nats


@pytest.mark.parametrize("orders", [1, 8])
def test_the_hidden_half_is_scored_given_what_comes_before_it(orders: int) -> None:
    model = PixelRNN(levels=2, hidden=3, orders=orders).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    known = torch.tensor([[False, False], [True, True]])
    images = torch.tensor(list(itertools.product([0, 1], repeat=4)), dtype=torch.uint8).reshape(-1, 1, 2, 2)
    nats = unknown_nats(model, images, known, order=int(model.best_order(known[None])))
    assert comes_first(model, known) is (orders == 8)
    # Conditional probabilities sum to 1 over the hidden half, for each lower half of its own.
    assert torch.allclose((-nats).exp().reshape(4, 4).sum(dim=0), torch.ones(4, dtype=torch.double))
    log_p = model.log_prob(images, order=1 if orders == 8 else 0)
    given = log_p.reshape(4, 4) - (log_p.reshape(4, 4).logsumexp(dim=0) if orders == 8 else 0)
    if orders == 8:
        torch.testing.assert_close(-nats.reshape(4, 4), given)
    else:  # p(top) does not depend on the lower half
        torch.testing.assert_close(-nats.reshape(4, 4), log_p.reshape(4, 4).logsumexp(dim=1)[:, None].expand(4, 4))
