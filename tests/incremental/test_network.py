from collections.abc import Callable
from typing import Any

import pytest
import torch
from pixelrnn.backend import Backend, backend
from torch import Tensor

from pixelrnn import InputError, PixelRNN
from pixelrnn.incremental import Network, Program, RowOfImages, reference, start
from pixelrnn.likelihood import draw
from pixelrnn.nn import LayerKind, MaskedConv2d

LAYERS: list[LayerKind] = ["diagonal-bilstm", "row-lstm", "pixel-cnn"]
BACKENDS: list[Backend] = ["reference", "compiled"]


def model_of(layer: LayerKind, **options: Any) -> PixelRNN:
    model = PixelRNN(layer=layer, **{"levels": 3, "hidden": 5, "depth": 2, **options}).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)  # the initial states too, which start at zero
    return model


def rows(network: Network, x: Tensor, known: Tensor, **options: Any) -> Tensor:
    """The logits of all rows of known images, (B, logits, C, H, W), where they are wanted."""
    batch, channels, _, width = x.shape
    noise = torch.zeros(width, channels, batch, dtype=torch.double)
    condition = options.get("condition")
    wanted = options.get("wanted", torch.ones(x.shape[2:], dtype=torch.bool))
    computed = [
        network.row(
            RowOfImages(
                levels=x[:, :, i].permute(2, 1, 0).contiguous(),
                known=known[:, i].T.contiguous(),
                uniform=noise,
                wanted=wanted[i],
                condition=None if condition is None else condition[:, :, i].permute(2, 0, 1),
            )
        )
        for i in range(x.shape[2])
    ]
    return torch.stack(computed).permute(3, 4, 2, 0, 1)  # from (H, W, C, B, logits)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1), (5, 3), (4, 9)])
@pytest.mark.parametrize("levels", [2, 5])
def test_the_logits_are_those_of_the_parallel_forward(
    name: Backend, layer: LayerKind, channels: int, size: tuple[int, int], levels: int
) -> None:
    model = model_of(layer, channels=channels, levels=levels)
    x = torch.randint(levels, (3, channels, *size), dtype=torch.uint8)
    known = torch.ones(3, *size, dtype=torch.bool)
    with backend(name):
        logits = rows(start(model.incremental(*size), 3), x, known)
        # Where they are not wanted, later ones are the same; a whole row or a part of one is computed together.
        wanted = torch.rand(size) < 0.5
        wanted[0] = False
        some = rows(start(model.incremental(*size), 3), x, known, wanted=wanted)
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
    x = torch.randint(3, (2, 1, 3, 4), dtype=torch.uint8)
    with backend(name), torch.no_grad():
        logits = rows(start(model.incremental(3, 4), 2), x, torch.ones(2, 3, 4, dtype=torch.bool))
        torch.testing.assert_close(logits, model(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_conditioned_on_a_class_and_a_map(name: Backend, layer: LayerKind, channels: int) -> None:
    model = model_of(layer, channels=channels, condition=3, classes=["a", "b"])
    x, labels = torch.randint(3, (3, channels, 5, 4), dtype=torch.uint8), torch.tensor([1, 0, 1])
    condition = torch.randn(3, 3, 5, 4, dtype=torch.double)
    one_hot = torch.eye(2, dtype=torch.double)[labels][:, :, None, None].expand(-1, -1, 5, 4)
    known, given = torch.ones(3, 5, 4, dtype=torch.bool), torch.cat([condition, one_hot], dim=1)
    with backend(name), torch.no_grad():
        logits = rows(start(model.incremental(5, 4), 3), x, known, condition=given)
        expected = model(x, labels=labels, condition=condition)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("batch", [1, 7, 30])
def test_the_compiled_network_in_float32(layer: LayerKind, batch: int) -> None:
    model = PixelRNN(layer=layer, channels=3, levels=4, hidden=17)
    x = torch.randint(4, (batch, 3, 6, 5), dtype=torch.uint8)
    with backend("compiled"), torch.no_grad():
        logits = rows(start(model.incremental(6, 5), batch), x, torch.ones(batch, 6, 5, dtype=torch.bool))
        torch.testing.assert_close(logits, model(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", BACKENDS)
def test_kernels_wider_than_one_product_sums(name: Backend) -> None:
    wide = MaskedConv2d("A", 3, 6, 11, channels=3).double()
    program = Program(4, 6, channels=3, levels=3)
    # With a map added to a kernel that reads rows above, too.
    first = MaskedConv2d("A", 3, 9, 3, channels=3).double()
    both = MaskedConv2d("B", 6, 9, (1, 19), channels=3).double()
    both.incremental(program, wide.incremental(program, 0), relu=True, plus=first.incremental(program, 0))
    x = torch.randint(3, (2, 3, 4, 6), dtype=torch.uint8)
    intensities = x.double() - 1
    with backend(name), torch.no_grad():
        logits = rows(start(program, 2), x, torch.ones(2, 4, 6, dtype=torch.bool))
        expected = both(wide(intensities), relu=True, plus=first(intensities)).unflatten(1, (3, 3))
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_map_added_to_a_kernel_that_reads_rows_above(name: Backend) -> None:
    program = Program(4, 5, channels=1, levels=3)
    first, second = MaskedConv2d("A", 1, 3, 3).double(), MaskedConv2d("B", 3, 3, 5).double()
    x = first.incremental(program, 0)
    second.incremental(program, x, plus=x)
    images = torch.randint(3, (2, 1, 4, 5), dtype=torch.uint8)
    with backend(name), torch.no_grad():
        logits = rows(start(program, 2), images, torch.ones(2, 4, 5, dtype=torch.bool))
        y = first(images.double() - 1)
        torch.testing.assert_close(logits[:, :, 0], second(y, plus=y), rtol=0, atol=1e-10)


@pytest.mark.parametrize("levels", [2, 7, 256])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_compiled_draw_is_that_of_the_likelihood(levels: int, temperature: float) -> None:
    model = PixelRNN(levels=levels, hidden=4).double()
    torch.nn.init.normal_(model.head.layers[1].bias, std=2.0)  # every sub-pixel of the first has these logits
    noise = torch.rand(1, 1, 500, dtype=torch.double)
    noise[..., :2] = torch.tensor([0.0, 1 - 2**-53])
    drawn = torch.zeros(1, 1, 500, dtype=torch.uint8)
    with backend("compiled"):
        unknown, wanted = torch.zeros(1, 500, dtype=torch.bool), torch.ones(1, dtype=torch.bool)
        row = RowOfImages(drawn, unknown, noise, wanted, temperature)
        logits = start(model.incremental(1, 1), 500).row(row)
    assert torch.equal(drawn[0, 0], draw(logits[0, 0], noise[0, 0], temperature=temperature))
    assert drawn.max() > 0


def test_a_named_backend_that_cannot_run_says_so() -> None:
    program = PixelRNN(levels=2, hidden=2).bfloat16().incremental(2, 2)
    with backend("compiled"), pytest.raises(InputError, match="for float32 or float64 on a CPU"):
        start(program, 1)


def reached_through_an_added_map(program: Program) -> Callable[[Tensor], Tensor]:
    a, b = MaskedConv2d("A", 1, 4, 3).double(), MaskedConv2d("B", 4, 4, 1).double()
    c, d = MaskedConv2d("B", 4, 4, 1).double(), MaskedConv2d("B", 4, 3, 3).double()
    x = a.incremental(program, 0)
    y = b.incremental(program, x)
    d.incremental(program, c.incremental(program, x, plus=y))
    return lambda image: d(c(a(image), plus=b(a(image))))


def reached_from_the_side_alone(program: Program) -> Callable[[Tensor], Tensor]:
    a, b = MaskedConv2d("A", 1, 4, 3).double(), MaskedConv2d("B", 4, 3, (1, 5)).double()
    b.incremental(program, a.incremental(program, 0))
    return lambda image: b(a(image))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("build", [reached_through_an_added_map, reached_from_the_side_alone])
def test_known_columns_are_computed_as_far_as_others_read_them(
    name: Backend, build: Callable[[Program], Callable[[Tensor], Tensor]]
) -> None:
    program = Program(4, 6, channels=1, levels=3)
    network = build(program)
    x, wanted = torch.randint(3, (2, 1, 4, 6), dtype=torch.uint8), torch.zeros(4, 6, dtype=torch.bool)
    wanted[:, 1::2] = True
    with backend(name), torch.no_grad():
        logits = rows(start(program, 2), x, torch.ones(2, 4, 6, dtype=torch.bool), wanted=wanted)
        expected = network(x.double() - 1)[:, :, None]
    torch.testing.assert_close(logits[..., wanted], expected[..., wanted], rtol=0, atol=1e-10)


def test_known_pixels_cost_no_more_than_what_others_read(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    compute = reference.ConvolutionStep.compute

    def counting(self: reference.ConvolutionStep, columns: range) -> None:
        computed.append(len(columns))
        compute(self, columns)

    monkeypatch.setattr(reference.ConvolutionStep, "compute", counting)
    wanted = torch.tensor([[False, False, True, False]])
    x = torch.zeros(1, 1, 1, 4, dtype=torch.uint8)
    with backend("reference"):
        rows(
            start(model_of("row-lstm", depth=1).incremental(1, 4), 1),
            x,
            torch.ones(1, 1, 4, dtype=torch.bool),
            wanted=wanted,
        )
    # The first convolution of the neighbours together; where logits are wanted, also 1×1, skip and both of the head.
    assert computed == [2, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("where", ["first.weight", "first.bias", "head.layers.0.bias", "head.layers.1.bias"])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_weight_that_is_no_number_is_noticed(name: Backend, where: str, layer: LayerKind) -> None:
    model = model_of(layer, channels=3)
    with torch.no_grad():
        dict(model.named_parameters())[where].view(-1)[0] = torch.nan  # of one feature, level or channel
    with backend(name), pytest.raises(InputError, match="logits that are not finite"):
        model.sample(2, height=2, width=2)


@pytest.mark.usefixtures("as_a_user")
def test_programs_that_cannot_be_started_are_refused() -> None:
    program = PixelRNN(levels=3, hidden=2).incremental(2, 2)
    with pytest.raises(InputError, match="the batch must have at least 1 image, got 0"):
        start(program, 0)
    program.relu(1)
    with pytest.raises(InputError, match="ends with the convolution that gives the 3 logits of a pixel"):
        start(program, 1)
    with pytest.raises(InputError, match="has no condition"):
        _ = program.condition
