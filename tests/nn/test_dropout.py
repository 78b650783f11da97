import torch
from torch import nn

from pixelrnn.nn.dropout import Dropout2d, part_of_batch


def test_a_part_of_a_batch_has_the_noise_of_the_whole() -> None:
    layer, x = Dropout2d(0.5), torch.randn(5, 8, 2, 3)
    torch.manual_seed(1)
    with part_of_batch(nn.Sequential(layer), 0, 5):
        whole = layer(x)
    for first, stop in ((0, 2), (2, 5), (4, 5)):
        torch.manual_seed(1)
        with part_of_batch(nn.Sequential(layer), first, 5):
            assert torch.equal(layer(x[first:stop]), whole[first:stop])


def test_it_is_dropout_of_features() -> None:
    layer, x = Dropout2d(0.4), torch.randn(50, 40, 2, 3)
    torch.manual_seed(1)
    expected = nn.functional.dropout2d(x, 0.4)
    torch.manual_seed(1)
    assert torch.equal(layer(x), expected)
    torch.manual_seed(1)
    with part_of_batch(layer, 0, 50):
        assert torch.equal(layer(x), expected)
        assert torch.equal(layer.eval()(x), x)


def test_the_part_is_forgotten_after_the_block() -> None:
    layer = Dropout2d(0.5)
    try:
        with part_of_batch(layer, 0, 2):
            raise RuntimeError
    except RuntimeError:
        assert layer(torch.ones(7, 1, 1, 1)).shape == (7, 1, 1, 1)
