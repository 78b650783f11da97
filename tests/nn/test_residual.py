from typing import Any

import pytest
import torch

from pixelrnn.errors import InputError
from pixelrnn.nn import LayerKind, ResidualBlock
from pixelrnn.nn.raster import by_position, is_by_position
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


@pytest.mark.parametrize("layer", ["diagonal-bilstm", "row-lstm", "pixel-cnn"])
def test_dropout_is_noise_around_the_same_mean_and_in_training_alone(layer: LayerKind) -> None:
    block = ResidualBlock(layer, 4, dropout=0.25)
    x = torch.randn(1, 8, 2, 3)
    exact = block.eval()(x)
    block.dropout.p = 0.0
    assert torch.equal(exact, block.train()(x))

    # The rest of the block is linear, or positively homogeneous in each feature for a PixelCNN.
    block.dropout.p = 0.25
    draws = torch.cat([block(x.expand(500, -1, -1, -1)) for _ in range(10)])
    assert draws.std(dim=0).min() > 0
    assert ((draws.mean(dim=0) - exact[0]).abs() < 5 * draws.std(dim=0) / len(draws) ** 0.5).all()


def test_dropout_takes_a_feature_of_an_image_at_all_positions() -> None:
    dropped = ResidualBlock("row-lstm", 4, dropout=0.25).dropout(torch.ones(200, 4, 2, 3))
    kept = dropped[:, :, 0, 0] > 0
    assert torch.allclose(dropped, kept[:, :, None, None] / 0.75)
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.08)  # five standard deviations
    assert len(kept.unique(dim=0)) > 1


@pytest.mark.parametrize("layer", ["diagonal-bilstm", "row-lstm"])
def test_maps_stay_stored_by_position(layer: LayerKind) -> None:
    block = ResidualBlock(layer, 4, dropout=0.5)
    assert is_by_position(block(by_position(torch.randn(5, 8, 2, 3))))
    assert is_by_position(block.dropout(by_position(torch.randn(5, 8, 2, 3))))


@pytest.mark.usefixtures("as_a_user")
def test_an_unknown_layer_is_refused() -> None:
    unknown: Any = "lstm"
    with pytest.raises(InputError, match="unknown layer 'lstm': expected one of diagonal-bilstm, row-lstm, pixel-cnn"):
        ResidualBlock(unknown, 4)


@pytest.mark.parametrize("layer", ["diagonal-bilstm", "row-lstm", "pixel-cnn"])
def test_a_condition_of_other_features_is_refused(layer: LayerKind) -> None:
    with pytest.raises(InputError, match="condition has shape"):
        ResidualBlock(layer, 2, condition=3)(torch.zeros(2, 4, 4, 5), torch.zeros(2, 2, 4, 5))


@pytest.mark.parametrize("layer", ["diagonal-bilstm", "row-lstm", "pixel-cnn"])
def test_a_condition_is_given_where_the_layer_has_one(layer: LayerKind) -> None:
    x = torch.zeros(2, 4, 4, 5)
    with pytest.raises(InputError, match="the condition is missing"):
        ResidualBlock(layer, 2, condition=3)(x)
    with pytest.raises(InputError, match="takes no condition"):
        ResidualBlock(layer, 2)(x, torch.zeros(2, 3, 4, 5))
