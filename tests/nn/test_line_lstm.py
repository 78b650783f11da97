"""Properties of both LSTM layers."""

import pytest
import torch

from pixelrnn.errors import InputError
from pixelrnn.nn import DiagonalBiLSTM, RowLSTM
from pixelrnn.nn.raster import by_position, is_by_position
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


@both
@pytest.mark.usefixtures("as_a_user")
def test_maps_of_another_shape_are_refused(layer: Layer) -> None:
    with pytest.raises(InputError, match=r"x has shape \(2, 3, 4\), expected \(B, 2, H, W\)"):
        layer(2, 2)(torch.zeros(2, 3, 4))
    with pytest.raises(InputError, match=r"x has shape \(1, 3, 3, 4\), expected \(B, 2, H, W\)"):
        layer(2, 2)(torch.zeros(1, 3, 3, 4))


@both
def test_the_layout_of_the_input_is_kept(layer: Layer) -> None:
    x, lstm = torch.randn(3, 2, 4, 5), layer(2, 6)
    assert lstm(x).view(3, 120).shape == (3, 120)
    assert is_by_position(lstm(by_position(x)))
    assert torch.equal(lstm(by_position(x)), lstm(x))


@both
@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (1, 2, 0, 4), (1, 2, 3, 0)])
def test_no_images_or_no_positions(layer: Layer, shape: tuple[int, int, int, int]) -> None:
    lstm, x = layer(2, 5), torch.zeros(shape, requires_grad=True)
    y = lstm(x)
    assert y.shape == (shape[0], 5, *shape[2:])
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == shape


@both
@pytest.mark.usefixtures("as_a_user")
def test_a_condition_that_does_not_fit_is_named(layer: Layer) -> None:
    x = torch.zeros(2, 2, 4, 6)
    conditional = layer(2, 3, condition=2)
    for shape in ((2, 2, 6, 4), (1, 2, 4, 6), (2, 3, 4, 6)):
        with pytest.raises(InputError, match=r"condition has shape .*, expected \(2, 2, 4, 6\)"):
            conditional(x, torch.zeros(shape))
    with pytest.raises(InputError, match="the condition is missing"):
        conditional(x)
    with pytest.raises(InputError, match="the layer takes no condition"):
        layer(2, 3)(x, x)
