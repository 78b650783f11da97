import itertools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from pixelrnn import InputError, PixelRNN
from pixelrnn.causality import Leak, SubPixel, gradient, leaks, sees
from pixelrnn.figures import ORANGE, SKY, VERMILION, WHITE
from pixelrnn.nn import LayerKind, MaskedConv2d, RowLSTM, skew, unskew

LAYERS: list[LayerKind] = ["diagonal-bilstm", "row-lstm", "pixel-cnn"]

WITHIN_THE_PIXEL = {(0, 0), (0, 1), (1, 1)}
"""Channels of logits and input where every feature of a pixel sees all that the first convolution has read of it."""


class SkewedLSTM(nn.Module):
    """One direction of a Diagonal BiLSTM as the paper draws it: a 2×1 convolution over columns of the skewed map."""

    def __init__(self, hidden: int, padding: tuple[int, int]) -> None:
        super().__init__()
        self.padding = padding
        self.input_to_state = MaskedConv2d("B", hidden, 4 * hidden, 1)
        self.state_to_state = nn.Conv1d(hidden, 4 * hidden, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = c = torch.zeros(x.shape[:3])  # float32, as in much public code
        states = []
        for column in skew(self.input_to_state(x)).unbind(-1):
            o, f, i, g = (self.state_to_state(F.pad(h, self.padding)) + column).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            states.append(h)
        return unskew(torch.stack(states, dim=-1))


def rgb(*between: nn.Module) -> nn.Sequential:
    """A network of RGB images with six features, two logits per sub-pixel and these layers in the middle."""
    first = MaskedConv2d("A", 3, 6, 3, channels=3)
    return nn.Sequential(first, *between, MaskedConv2d("B", 6, 6, 1, channels=3), nn.Unflatten(1, (2, 3)))


def pairs(found: list[Leak]) -> set[tuple[SubPixel, SubPixel]]:
    return {(leak.output, leak.input) for leak in found}


def in_raster_order(found: list[Leak]) -> bool:
    keys = [(*leak.output[1:], leak.output[0], *leak.input[1:], leak.input[0]) for leak in found]
    return keys == sorted(set(keys))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("channels", "levels"), [(1, 2), (3, 4)])
def test_our_models_do_not_leak(layer: LayerKind, channels: int, levels: int) -> None:
    model = PixelRNN(layer=layer, channels=channels, levels=levels, hidden=4, depth=2)
    assert leaks(model.logits, size=(4, 5), channels=channels) == []


def test_a_state_convolution_that_is_padded_below_reads_the_future() -> None:
    height, width = 4, 7
    ends = MaskedConv2d("A", 1, 3, 3), MaskedConv2d("B", 3, 1, 1)
    assert leaks(nn.Sequential(ends[0], SkewedLSTM(3, (1, 0)), ends[1]), size=(height, width)) == []

    found = leaks(nn.Sequential(ends[0], SkewedLSTM(3, (0, 1)), ends[1]), size=(height, width))
    # A state reads the one to its left, and (i + 1, j − 2) instead of the one above.
    pixels = [*itertools.product(range(height), range(width))]
    expected = set()
    for (i, j), d, e in itertools.product(pixels, range(height), range(width)):
        state = (i + d, j - 2 * d - e)
        if state in pixels:
            window = [(state[0] + di, state[1] + dj) for di, dj in [(-1, -1), (-1, 0), (-1, 1), (0, -1)]]
            expected |= {((0, i, j), (0, *p)) for p in window if p in pixels and p >= (i, j)}
    assert pairs(found) == expected
    assert len(expected) > 20
    assert in_raster_order(found)


def test_gates_that_are_grouped_as_one_map_leak_across_channels() -> None:
    assert leaks(rgb(RowLSTM(6, 6, channels=3)), size=(3, 3), channels=3) == []

    lstm = RowLSTM(6, 4, channels=3)
    lstm.input_to_state = MaskedConv2d("B", 6, 4 * 4, (1, 3), channels=3)  # maps=4 is missing, and 3 does not divide 4
    widen = MaskedConv2d("B", 4, 6, 1, channels=3)
    found = leaks(rgb(lstm, widen), size=(3, 3), channels=3)
    assert pairs(found) == {
        ((b, i, j), (a, i, j)) for b, a in WITHIN_THE_PIXEL for i, j in itertools.product(range(3), range(3))
    }
    assert in_raster_order(found)


def test_channel_groups_that_are_forgotten_inside_the_network_leak() -> None:
    grouped = rgb(nn.ReLU(), MaskedConv2d("B", 6, 6, 3, channels=3), nn.ReLU())
    assert leaks(grouped, size=(3, 4), channels=3) == []
    forgotten = rgb(nn.ReLU(), MaskedConv2d("B", 6, 6, 3), nn.ReLU())
    assert pairs(leaks(forgotten, size=(3, 4), channels=3)) == {
        ((b, i, j), (a, i, j)) for b, a in WITHIN_THE_PIXEL for i, j in itertools.product(range(3), range(4))
    }


def test_the_size_of_a_leak_is_the_largest_gradient_of_its_logits() -> None:
    mix = nn.Conv2d(3, 3, 1)
    weight = torch.tensor([[0.1, -0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, -0.9]])
    mix.weight.data[:, :, 0, 0] = weight
    found = leaks(mix, size=(1, 2), channels=3)
    assert [(leak.output, leak.input) for leak in found] == [
        ((b, 0, j), (a, 0, j)) for j in range(2) for b in range(3) for a in range(b, 3)
    ]
    assert [leak.gradient for leak in found] == [
        pytest.approx(abs(float(weight[b, a]))) for b in range(3) for a in range(b, 3)
    ] * 2
    context = sees(mix, size=(1, 2), channels=3, at=(0, 1))
    np.testing.assert_allclose(context.by_channel[:, :, 0], [[[0, abs(w)] for w in row] for row in weight.tolist()])
    np.testing.assert_allclose(context.array, [[0, 0.9]])

    two_logits = nn.Conv2d(1, 2, 1)
    two_logits.weight.data[:, 0, 0, 0] = torch.tensor([0.5, -3.0])
    assert leaks(two_logits, size=(1, 2)) == [Leak((0, 0, j), (0, 0, j), 3.0) for j in range(2)]
    assert str(Leak((0, 2, 3), (1, 2, 4), 0.1234)) == (
        "the logits of channel 0 at (2, 3) depend on channel 1 at (2, 4): gradient 0.12"
    )


@pytest.mark.parametrize(
    "hiding",
    [
        lambda x: torch.cat([x, -x], dim=1),  # logits whose sum does not depend on the input
        F.relu,  # zero for about half of the images
        lambda x: x * 1e-200,  # its derivative is zero in float32
        lambda x: x.add_(x),  # changes its input
    ],
)
def test_a_leak_does_not_hide(hiding: Callable[[Tensor], Tensor]) -> None:
    own = {((0, i, j), (0, i, j)) for i, j in itertools.product(range(3), range(3))}
    assert pairs(leaks(hiding, size=(3, 3))) == own


@pytest.mark.parametrize("layer", LAYERS)
def test_the_context_of_a_pixel(layer: LayerKind) -> None:
    size, at = (4, 5), (2, 3)
    model = PixelRNN(layer=layer, channels=2, levels=3, hidden=6)
    context = sees(model.logits, size=size, channels=2, at=at)
    assert context.by_channel.shape == (2, 2, *size)
    seen = context.by_channel > 0
    assert np.array_equal(context.array, context.by_channel.max(axis=(0, 1)))
    for b, a, (i, j) in itertools.product(range(2), range(2), itertools.product(range(4), range(5))):
        if (i, j, a) >= (*at, b):
            assert not seen[b, a, i, j]
        elif layer == "diagonal-bilstm" or (i, j) in [(2, 3), (2, 2), (1, 3)]:
            assert seen[b, a, i, j]


def colours(network: Callable[[Tensor], Tensor], channels: int) -> list[list[str]]:
    """The colours of the cells of each map, row by row."""
    figure = sees(network, size=(2, 3), channels=channels, at=(0, 1)).figure()
    figure.draw_without_rendering()
    maps = []
    for axes in figure.axes:
        cells = [patch for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_fill()]
        maps.append([to_hex(cell.get_facecolor()).upper() for cell in cells])
        assert [cell.get_hatch() == "///" for cell in cells] == [colour == VERMILION for colour in maps[-1]]
    return maps


def test_the_figure_shows_what_is_seen_and_what_must_not_be() -> None:
    before = [SKY, ORANGE, WHITE, WHITE, WHITE, WHITE]
    assert colours(MaskedConv2d("A", 1, 1, 3), 1) == [before]
    assert colours(nn.Conv2d(1, 1, 3, padding=1), 1) == [[SKY, *[VERMILION] * 5]]
    first = MaskedConv2d("A", 2, 2, 3, channels=2)
    own_channel, other, earlier = before, [SKY, *[WHITE] * 5], [SKY, SKY, *[WHITE] * 4]
    assert colours(first, 2) == [own_channel, other, earlier, own_channel]
    forgotten = nn.Sequential(first, nn.Conv2d(2, 2, 1))
    leak = [SKY, VERMILION, *[WHITE] * 4]
    assert colours(forgotten, 2) == [leak, other, earlier, own_channel]


def test_the_module_and_the_random_numbers_stay_as_they_are() -> None:
    network = nn.Sequential(MaskedConv2d("A", 1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), MaskedConv2d("B", 2, 1, 1))
    network(torch.rand(2, 1, 3, 3)).sum().backward()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    random = torch.get_rng_state()
    with torch.inference_mode():
        assert leaks(network, size=(3, 3)) == []
        assert leaks(network.forward, size=(3, 3)) == []
    leaks(F.dropout, size=(3, 3))  # draws random numbers
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.get_default_dtype() == torch.zeros(1).dtype == torch.float32
    assert network.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert len(gradients) == 6
    for parameter, kept in zip(network.parameters(), gradients, strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, kept)


def test_neither_autocast_nor_a_lack_of_gradients_around_the_check_changes_it() -> None:
    def network(x: Tensor) -> Tensor:
        return x.float() @ (0.3 * torch.eye(3, dtype=torch.float32))

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        context = sees(network, size=(1, 3), at=(0, 1))
    np.testing.assert_allclose(context.array, [[0, 0.3, 0]], rtol=1e-7)  # 0.30078 in bfloat16


def batch_norm() -> nn.Module:
    return nn.Sequential(MaskedConv2d("A", 1, 1, 3), nn.BatchNorm2d(1, track_running_stats=False))


def zero() -> nn.Module:
    last = nn.Conv2d(2, 1, 1)
    nn.init.zeros_(last.weight)
    return nn.Sequential(MaskedConv2d("A", 1, 2, 3), last)


class Uncopyable(nn.Conv2d):
    def __deepcopy__(self, memo: object) -> None:
        raise TypeError("not\nthis one")


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (batch_norm(), "the logits of an image depend on other images"),
        (lambda x: x.cumsum(dim=0), "the logits of an image depend on other images"),
        (lambda x: x.flip(0).cumsum(dim=0), "the logits of an image depend on other images"),
        (lambda x: x / 0, "72 of 72 logits are NaN or infinite"),
        (lambda x: (x * 0).sqrt(), "the gradient of the logits is NaN or infinite"),
        (lambda x: x.detach(), "the logits have no gradient: check that the network does not detach them"),
        (lambda x: torch.ones_like(x).requires_grad_(), "the logits have no gradient"),
        (lambda x: x.round(), "no logit depends on any input, so the check proves nothing"),
        (zero(), "no logit depends on any input"),
        (lambda x: (x, x), r"the network maps \(8, 1, 3, 3\) to tuple, expected floating-point \(B, K, C, H, W\)"),
        (lambda x: x.sum(dim=1), r"maps \(8, 1, 3, 3\) to \(8, 3, 3\) of torch.float64, expected"),
        (nn.Conv2d(1, 1, 3), r"the network maps \(8, 1, 3, 3\) to \(8, 1, 1, 1\)"),
        (lambda x: x[:1], r"the network maps \(8, 1, 3, 3\) to \(1, 1, 3, 3\)"),
        (lambda x: x > 0, r"\(8, 1, 3, 3\) of torch\.bool, expected floating-point"),
        (nn.Conv2d(2, 1, 3), r"cannot run a float64 copy of the network on images \(8, 1, 3, 3\): Given groups=1"),
        (PixelRNN(levels=2, hidden=2), "expected uint8"),
        (Uncopyable(1, 1, 3), r"cannot run a float64 copy of the network .*: not this one$"),
    ],
)
def test_what_cannot_be_checked_is_refused(network: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(InputError, match=message):
        leaks(network, size=(3, 3))


def test_a_gradient_that_is_not_finite_for_one_sub_pixel_is_refused() -> None:
    x = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2).requires_grad_()
    with pytest.raises(InputError, match="the gradient of the logits is NaN or infinite"):
        gradient(x.sqrt()[..., 0], x)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": (3, 0)}, r"size must be \(height, width\), each at least 1, got \(3, 0\)"),
        ({"size": (3,)}, r"size must be \(height, width\), each at least 1, got \(3,\)"),
        ({"size": (3, 2.5)}, r"got \(3, 2\.5\)"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"at": (3, 0)}, r"at is \(3, 0\), expected \(row, column\) within an image of 3×4"),
        ({"at": (0, -1)}, r"at is \(0, -1\), expected"),
        ({"at": (0, 1, 1)}, r"at is \(0, 1, 1\), expected"),
        ({"at": (0, 0.5)}, r"at is \(0, 0\.5\), expected"),
    ],
)
def test_bad_sizes_and_pixels_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sees(F.relu, **{"size": (3, 4), "at": (0, 0), **given})


def test_several_channels_need_an_axis_of_their_own() -> None:
    with pytest.raises(
        InputError, match=r"\(8, 3, 2, 2\) to \(8, 6, 2, 2\) of torch.float64, expected .* \(B, C, H, W\)"
    ):
        leaks(nn.Conv2d(3, 6, 1), size=(2, 2), channels=3)


def test_only_the_figure_needs_matplotlib() -> None:
    script = """
import sys
sys.modules["matplotlib"] = None  # as if it were not installed
from torch import nn
from pixelrnn.causality import leaks, sees
network = nn.Conv2d(1, 1, 1)
print(len(leaks(network, size=(2, 2))))
try:
    sees(network, size=(2, 2), at=(0, 0)).figure()
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "4",
        "figures need matplotlib, which is not installed: pip install 'pixelrnn[train]'",
    ]
