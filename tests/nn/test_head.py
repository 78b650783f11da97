import pytest
import torch

from pixelrnn.nn import OutputHead
from tests import oracle
from tests.checks import equals_oracle, reach


@pytest.mark.parametrize(("channels", "logits"), [(1, 1), (1, 5), (3, 1), (3, 4)])
def test_equals_the_oracle(channels: int, logits: int) -> None:
    equals_oracle(
        OutputHead(5, 4, logits, channels=channels),
        lambda x, p: oracle.output_head(x, p, channels),
        torch.randn(2, 5, 2, 3),
    )


def test_the_logits_of_a_channel_see_no_later_one() -> None:
    head = OutputHead(6, 12, 7, channels=3).double()
    for parameter in head.parameters():
        torch.nn.init.uniform_(parameter)  # positive weights keep every ReLU open
    reached = reach(head, torch.rand(1, 6, 1, 1, dtype=torch.double))[:, :, 0, 0, :, 0, 0]  # (7, 3, 6)
    seen = reached.any(dim=0).reshape(3, 2, 3).any(dim=1)  # feature k belongs to channel k mod 3
    assert torch.equal(seen, torch.ones(3, 3).tril().bool())
