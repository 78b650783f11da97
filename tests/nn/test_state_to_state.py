"""What holds for both LSTM layers alike."""

import pytest
import torch

from pixelrnn.errors import InputError
from pixelrnn.nn import DiagonalBiLSTM, RowLSTM
from tests.checks import reach

Layer = type[RowLSTM] | type[DiagonalBiLSTM]

both = pytest.mark.parametrize("layer", [RowLSTM, DiagonalBiLSTM])


@both
def test_channels_of_a_pixel_see_the_ones_before(layer: Layer) -> None:
    reached = reach(layer(3, 3, channels=3).double(), torch.randn(1, 3, 1, 1, dtype=torch.double))
    assert torch.equal(reached[:, 0, 0, :, 0, 0], torch.ones(3, 3).tril().bool())


@both
def test_outside_the_image_is_the_learned_initial_state(layer: Layer) -> None:
    lstm = layer(1, 2).double()
    x = torch.randn(1, 1, 1, 1, dtype=torch.double)
    before = lstm(x)
    torch.nn.init.normal_(lstm.state_to_state.initial)
    assert not torch.allclose(lstm(x), before)


@both
@pytest.mark.usefixtures("as_a_user")
def test_too_few_features_are_refused(layer: Layer) -> None:
    with pytest.raises(InputError, match="2 features cannot hold 3 channels"):
        layer(3, 2, channels=3)
