from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pixelrnn import InputError, PixelRNN
from pixelrnn.likelihood import draw
from pixelrnn.nn import DiagonalBiLSTM, LayerKind, MaskedConv2d, RowLSTM
from pixelrnn.ops import Backend, backend
from pixelrnn.randomness import generator
from pixelrnn.sampling import reference
from pixelrnn.sampling.batch import start
from tests.checks import pairwise
from tests.sampling.networks import BACKENDS, LAYERS, Mixed, Network, model_of, parallel, randomized, rows, traced


@pairwise(  # each layer of each backend meets every size: one row or column hides faults
    of=[*product(BACKENDS, LAYERS)],
    size=[(1, 1), (1, 6), (5, 1), (5, 3), (4, 9)],
    channels=[1, 3],
    levels=[2, 5],
)
def test_the_logits_are_those_of_the_parallel_forward(
    of: tuple[Backend, LayerKind], size: tuple[int, int], channels: int, levels: int
) -> None:
    name, layer = of
    model = model_of(layer, channels=channels, levels=levels)
    x = torch.randint(levels, (3, channels, *size), dtype=torch.uint8)
    with backend(name):
        logits = rows(model, x, levels)
        # Unwanted columns do not change later ones; a whole row or part of one is computed at once.
        wanted = torch.rand(size) < 0.5
        wanted[0] = False
        some = rows(model, x, levels, wanted=wanted)
    with torch.no_grad():
        expected = model(x)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(some[..., wanted], expected[..., wanted], rtol=0, atol=1e-10)
    assert some[..., ~wanted].isnan().all()


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(("residual", "skip"), [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("layer", LAYERS)
def test_without_residual_or_skip_connections(name: Backend, residual: bool, skip: bool, layer: LayerKind) -> None:
    model = model_of(layer, residual=residual, skip=skip, hidden=9, head=4)
    x = torch.randint(4, (2, 1, 3, 4), dtype=torch.uint8)
    with backend(name), torch.no_grad():
        torch.testing.assert_close(rows(model, x, 4), model(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_conditioned_on_a_class_and_a_map(name: Backend, layer: LayerKind, channels: int) -> None:
    model = model_of(layer, channels=channels, condition=3, classes=["a", "b"])
    x, labels = torch.randint(4, (3, channels, 5, 4), dtype=torch.uint8), torch.tensor([1, 0, 1])
    condition = torch.randn(3, 3, 5, 4, dtype=torch.double)
    one_hot = torch.eye(2, dtype=torch.double)[labels][:, :, None, None].expand(-1, -1, 5, 4)
    with backend(name), torch.no_grad():
        logits = rows(model, x, 4, condition=torch.cat([condition, one_hot], dim=1))
        expected = model(x, labels=labels, condition=condition)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("batch", [1, 7, 30])
def test_the_compiled_network_in_float32(layer: LayerKind, batch: int) -> None:
    model = PixelRNN(layer=layer, channels=3, levels=4, hidden=17)
    x = torch.randint(4, (batch, 3, 6, 5), dtype=torch.uint8)
    with backend("cpu"), torch.no_grad():
        torch.testing.assert_close(rows(model, x, 4), model(x), rtol=0, atol=1e-5)


def wide_kernels() -> Network:
    return Network(
        # Also with a map added to a kernel that reads rows above.
        lambda own, x: own.both(own.wide(x), relu=True, plus=own.first(x)).unflatten(1, (4, 3)),
        wide=MaskedConv2d("A", 3, 6, 11, channels=3),
        first=MaskedConv2d("A", 3, 12, 3, channels=3),
        both=MaskedConv2d("B", 6, 12, (1, 19), channels=3),
    )


def added_to_a_kernel_that_reads_rows_above() -> Network:
    def forward(own: Any, x: torch.Tensor) -> torch.Tensor:
        x = own.first(x)
        return own.second(x, plus=x).unflatten(1, (4, 1))

    return Network(forward, first=MaskedConv2d("A", 1, 4, 3), second=MaskedConv2d("B", 4, 4, 5))


def an_lstm_last() -> Network:
    return Network(
        lambda own, x: own.row(own.first(x)).unflatten(1, (4, 3)),
        first=MaskedConv2d("A", 3, 3, 3, channels=3),
        row=RowLSTM(3, 12, channels=3),
    )


def a_sum_last() -> Network:
    return Network(
        lambda own, x: (own.row(own.first(x)) + own.diagonal(own.first(x))).unflatten(1, (4, -1)),
        first=MaskedConv2d("A", 3, 3, 3, channels=3),
        row=RowLSTM(3, 12, channels=3),
        diagonal=DiagonalBiLSTM(3, 12, channels=3),
    )


def a_concatenation_last() -> Network:
    def forward(own: Any, x: torch.Tensor) -> torch.Tensor:
        x = own.first(x)
        return own.unflatten(torch.cat([x, x.relu()], dim=1))

    return Network(forward, first=MaskedConv2d("A", 1, 2, 3), unflatten=nn.Unflatten(1, (4, 1)))


def an_lstm_conditioned_on_earlier_pixels() -> Network:
    return Network(
        lambda own, x: own.diagonal(own.first(x), own.first(x)).unflatten(1, (4, 1)),
        first=MaskedConv2d("A", 1, 3, 3),
        diagonal=DiagonalBiLSTM(3, 4, condition=3),
    )


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(
    "build",
    [
        *(wide_kernels, added_to_a_kernel_that_reads_rows_above, an_lstm_last, a_sum_last, a_concatenation_last),
        an_lstm_conditioned_on_earlier_pixels,
    ],
)
def test_networks_of_other_shapes(name: Backend, build: Callable[[], Network]) -> None:
    network = randomized(build())
    x = torch.randint(4, (2, network.first.in_channels, 4, 6), dtype=torch.uint8)
    with backend(name), torch.no_grad():
        torch.testing.assert_close(rows(network, x, 4), parallel(network, 4)(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(("channels", "levels"), [(1, 2), (3, 4)])
@pytest.mark.parametrize("condition", [0, 2])
def test_a_network_that_the_package_does_not_have(name: Backend, channels: int, levels: int, condition: int) -> None:
    network, x = randomized(Mixed(channels, levels, condition)), torch.randint(levels, (3, channels, 5, 4))
    given = torch.randn(3, condition, 5, 4, dtype=torch.double) if condition else None
    wanted = torch.rand(5, 4) < 0.5
    with backend(name), torch.no_grad():
        expected = parallel(network, levels, given)(x.byte())
        logits = rows(network, x.byte(), levels, condition=given)
        some = rows(network, x.byte(), levels, condition=given, wanted=wanted)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(some[..., wanted], expected[..., wanted], rtol=0, atol=1e-10)


def compiled_draws(model: PixelRNN, noise: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The levels that the compiled library draws for the first sub-pixel of each image, and its logits."""
    images = len(noise)
    drawn, noise = torch.zeros(1, 1, images, dtype=torch.uint8), noise.view(1, 1, images)
    with backend("cpu"):
        unknown, wanted = torch.zeros(1, images, dtype=torch.bool), torch.ones(1, dtype=torch.bool)
        row = reference.RowOfImages(drawn, unknown, noise, wanted, temperature)
        logits = start(traced(model), 1, images).row(row)
    return drawn[0, 0], logits[0, 0]


@pytest.mark.parametrize("levels", [2, 7, 17, 256])
@pytest.mark.parametrize("temperature", [1e-46, 0.5, 1.0, 3.0, 1e39])
@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_the_compiled_draw_is_that_of_the_likelihood(levels: int, temperature: float, kind: torch.dtype) -> None:
    model = PixelRNN(levels=levels, hidden=4).to(kind)
    nn.init.normal_(model.head.layers[1].bias, std=2.0)  # every sub-pixel of the first image has these logits
    noise = torch.rand(500, dtype=torch.double, generator=generator(1))
    if kind == torch.float64:
        noise[:2] = torch.tensor([0.0, 1 - 2**-53], dtype=torch.double)
    drawn, logits = compiled_draws(model, noise, temperature)
    assert torch.equal(drawn, draw(logits, noise, temperature=temperature))
    assert drawn.max() > 0 or temperature < 1


@pytest.mark.parametrize(("levels", "used"), [(17, 16), (17, 9), (40, 16), (64, 40), (256, 16), (256, 100)])
@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_rounding_never_draws_a_level_without_probability(levels: int, used: int, kind: torch.dtype) -> None:
    noise = torch.cat([1 - torch.logspace(-16, -5, 200, dtype=torch.double), torch.zeros(1, dtype=torch.double)])
    for seed in range(20):
        torch.manual_seed(seed)
        model = PixelRNN(levels=levels, hidden=4).to(kind)
        nn.init.normal_(model.head.layers[1].bias)
        with torch.no_grad():
            model.head.layers[1].bias[used:] = -1e4
        drawn, _ = compiled_draws(model, noise, 1.0)
        assert drawn.max() < used


def test_a_named_backend_that_cannot_run_says_so() -> None:
    model = PixelRNN(levels=2, hidden=2).bfloat16()
    with backend("cpu"), pytest.raises(InputError, match="expected float32 or float64 on a CPU for the backend cpu"):
        model.sample(1, height=2, width=2)


def reached_through_an_added_map() -> Network:
    def forward(own: Any, x: torch.Tensor) -> torch.Tensor:
        x = own.a(x)
        return own.d(own.c(x, plus=own.b(x))).unflatten(1, (3, 1))

    b, c = MaskedConv2d("B", 4, 4, 1), MaskedConv2d("B", 4, 4, 1)
    return Network(forward, a=MaskedConv2d("A", 1, 4, 3), b=b, c=c, d=MaskedConv2d("B", 4, 3, 3))


def reached_from_the_side_alone() -> Network:
    a, b = MaskedConv2d("A", 1, 4, 3), MaskedConv2d("B", 4, 3, (1, 5))
    return Network(lambda own, x: own.b(own.a(x)).unflatten(1, (3, 1)), a=a, b=b)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("build", [reached_through_an_added_map, reached_from_the_side_alone])
def test_known_columns_are_computed_as_far_as_others_read_them(name: Backend, build: Callable[[], Network]) -> None:
    network = build().double()
    x, wanted = torch.randint(3, (2, 1, 4, 6), dtype=torch.uint8), torch.zeros(4, 6, dtype=torch.bool)
    wanted[:, 1::2] = True
    with backend(name), torch.no_grad():
        logits, expected = rows(network, x, 3, wanted=wanted), parallel(network, 3)(x)
    torch.testing.assert_close(logits[..., wanted], expected[..., wanted], rtol=0, atol=1e-10)


def test_known_pixels_cost_no_more_than_what_others_read(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    compute = reference.ConvolutionStep.compute

    def counting(self: reference.ConvolutionStep, columns: range, stage: int) -> None:
        computed.append(len(columns))
        compute(self, columns, stage)

    monkeypatch.setattr(reference.ConvolutionStep, "compute", counting)
    wanted = torch.tensor([[False, False, True, False]])
    x = torch.zeros(1, 1, 1, 4, dtype=torch.uint8)
    with backend("reference"):
        rows(model_of("row-lstm", depth=1), x, 4, wanted=wanted)
    # The first convolution, for the neighbours at once; where logits are wanted also 1×1, skip and both of the head.
    assert computed == [2, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("where", ["first.weight", "first.bias", "head.layers.0.bias", "head.layers.1.bias"])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_weight_that_is_no_number_is_noticed(name: Backend, where: str, layer: LayerKind) -> None:
    model = model_of(layer, channels=3)
    with torch.no_grad():
        model.get_parameter(where).view(-1)[0] = torch.nan  # of one feature, level or channel
    with backend(name), pytest.raises(InputError, match="the network returned logits that are NaN or infinite"):
        model.sample(2, height=2, width=2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layer", LAYERS)
def test_weights_of_half_precision_sample(layer: LayerKind, dtype: torch.dtype) -> None:
    model = PixelRNN(layer=layer, channels=3, levels=4, hidden=4, condition=2).to(dtype)
    assert model.sample(2, height=3, width=4, condition=torch.zeros(2, 2, 3, 4)).shape == (2, 3, 3, 4)
