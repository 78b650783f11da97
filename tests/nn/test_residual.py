from typing import Any

import pytest
import torch

from pixelrnn.errors import InputError
from pixelrnn.nn import LayerKind, ResidualBlock
from tests import oracle
from tests.checks import equals_oracle


@pytest.mark.parametrize("layer", ["diagonal-bilstm", "row-lstm", "pixel-cnn"])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize(("channels", "hidden"), [(1, 2), (3, 4)])
def test_equals_the_oracle(layer: LayerKind, residual: bool, channels: int, hidden: int) -> None:
    equals_oracle(
        ResidualBlock(layer, hidden, channels=channels, residual=residual),
        lambda x, p: oracle.residual_block(x, p, layer, channels, residual),
        torch.randn(2, 2 * hidden, 2, 3),
    )


@pytest.mark.parametrize("layer", ["diagonal-bilstm", "row-lstm", "pixel-cnn"])
def test_conditioned_on_a_map_it_equals_the_oracle(layer: LayerKind) -> None:
    equals_oracle(
        ResidualBlock(layer, 4, channels=3, condition=2),
        lambda x, p, given: oracle.residual_block(x, p, layer, 3, True, given),
        torch.randn(2, 8, 2, 3),
        torch.randn(2, 2, 2, 3),
    )


@pytest.mark.usefixtures("as_a_user")
def test_an_unknown_layer_is_refused() -> None:
    unknown: Any = "lstm"
    with pytest.raises(InputError, match="unknown layer 'lstm': expected one of diagonal-bilstm, row-lstm, pixel-cnn"):
        ResidualBlock(unknown, 4)
