import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from pixelrnn import InputError, PixelRNN
from pixelrnn.nn import DiagonalBiLSTM, MaskedConv2d, RowLSTM
from pixelrnn.ops import backend
from pixelrnn.sampling import naive, sample
from tests.sampling.networks import Mixed, Network, conv, mask_a, parallel, randomized, rows, seeded, traced


def test_what_later_steps_read_of_a_map_is_kept() -> None:
    def forward(own: Any, x: Tensor) -> Tensor:
        image = own.first(x)
        below = own.row(own.diagonal(own.narrow(image)))
        return own.last(torch.cat([own.wide(image), below], dim=1)).unflatten(1, (1, 1))

    modules = {"first": mask_a(), "narrow": conv(), "diagonal": DiagonalBiLSTM(2, 2), "row": RowLSTM(2, 2)}
    program = traced(Network(forward, **modules, wide=conv(kernel=5), last=conv(4, 1)), levels=2)
    image, first, narrow, diagonal, row, *others = program.kept
    assert image == (3, 3)
    assert first == (2, 2)
    assert narrow == (1, 0)  # the mirror reads the row above, once complete
    assert diagonal == (0, 1)
    assert [row, *others] == [(0, 0)] * 4


def test_the_features_of_every_map() -> None:
    network = Network(
        lambda own, x: own.last(own.row(own.first(x)), relu=True).unflatten(1, (4, 3)),
        first=MaskedConv2d("A", 3, 8, 3, channels=3),
        row=RowLSTM(8, 5, channels=3),
        last=MaskedConv2d("B", 5, 12, 1, channels=3),
    )
    program = traced(network, channels=3)
    assert [len(step.sees) for step in program.steps] == [3, 8, 5, 5, 12]
    assert [step.kind for step in program.steps] == ["input", "convolution", "row", "relu", "convolution"]


def test_steps_that_only_the_logits_need_are_told_from_those_that_are_remembered() -> None:
    program = traced(PixelRNN(levels=2, hidden=2, depth=2))
    image, *kinds = [step.kind for step, needed in zip(program.steps, program.remembered, strict=True) if needed]
    assert kinds == [
        "convolution",
        "diagonal",
        "convolution",
        "diagonal",
    ]  # the first, a block, the last LSTM
    # In a PixelCNN the 3×3 convolutions read a row above. The last one only needs its input.
    program = traced(PixelRNN(layer="pixel-cnn", levels=2, hidden=2, depth=1))
    kept = [step for step, needed in zip(program.steps, program.remembered, strict=True) if needed]
    assert [step.reach for step in kept if step.kind == "convolution"] == [(3, 3), (0, 0)]


def test_an_addition_is_made_with_a_map_that_nothing_else_reads() -> None:
    def forward(own: Any, x: Tensor) -> Tensor:
        x = own.first(x)
        own.row(x)  # sampling skips it
        y = own.b(x + own.a(x))
        return own.last(y + own.row(y)).unflatten(1, (1, 1))

    network = Network(forward, first=mask_a(), a=conv(), b=conv(), row=RowLSTM(2, 2), last=conv(2, 1))
    names: dict[Any, str | None] = {weakref.ref(module): name for name, module in network.named_children()} | {
        None: None
    }
    steps: Any = traced(network, levels=2).steps
    assert [(step.reads, names[step.layer]) for step in steps[1:]] == [
        *(((0,), "first"), ((1, 1), "a"), ((2,), "b"), ((3,), "row")),
        *(((3, 4), None), ((5,), "last")),
    ]


def in_place(own: Any, x: Tensor) -> Tensor:
    x = own.first(x)
    y, same = x, own.dropout(x)
    y += own.a(x)
    z = own.b(same)  # reads the sum
    own.relu(z)
    x.relu_()
    x.add_(z)
    return own.last(y + same).unflatten(1, (3, 1))  # both are x


@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_operations_in_place_change_all_that_is_the_same_map(name: Any) -> None:
    modules = {"first": mask_a(), "a": conv(), "b": conv(), "last": conv(2, 3)}
    network = randomized(Network(in_place, **modules, dropout=nn.Dropout(), relu=nn.ReLU(inplace=True)).eval())
    x = torch.randint(3, (2, 1, 4, 3), dtype=torch.uint8)
    with backend(name), torch.no_grad():
        torch.testing.assert_close(rows(network, x, 3), parallel(network, 3)(x), rtol=0, atol=1e-10)


def ending(change: Callable[..., Any], **modules: nn.Module) -> Network:
    """A network of grey images and four levels that changes the map before its last layer."""
    given = {"first": mask_a(), "last": conv(2, 4), **modules}
    return Network(lambda own, x: own.last(change(own, own.first(x))).unflatten(1, (4, 1)), **given)


class OwnMask(nn.Conv2d):
    """Masks as public code does."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * 0)


class Inner(nn.Module):
    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def replaced(module: Any) -> Any:
    module.forward = lambda x: x
    return module


BY_POSITION = "cannot be computed position by position; use "
REFUSED: dict[str, tuple[Network, str]] = {
    "another module": (
        ending(lambda own, x: own.inner(x), inner=Inner(conv(), nn.BatchNorm2d(2))),
        f"inner.layers.1: BatchNorm2d {BY_POSITION}MaskedConv2d, RowLSTM, DiagonalBiLSTM, +, torch.cat, relu",
    ),
    "a function": (ending(lambda own, x: F.gelu(x)), f"Network: the operation gelu {BY_POSITION}"),
    "a function of a child": (
        ending(lambda own, x: own.inner(x), inner=Inner(nn.Softplus())),
        "inner.layers.0: Softplus",
    ),
    "a method": (ending(lambda own, x: x.view(1, 2, 3)), f"Network: the operation view {BY_POSITION}"),
    "an operator": (ending(lambda own, x: x * 2), f"Network: the operation mul {BY_POSITION}"),
    "an index": (ending(lambda own, x: x[:, :2]), f"Network: the operation getitem {BY_POSITION}"),
    "the shape": (ending(lambda own, x: x if x.shape[2] > 1 else x.relu()), f"Network: .shape {BY_POSITION}"),
    "the batch": (ending(lambda own, x: x if len(x) > 1 else x.relu()), f"Network: the operation len {BY_POSITION}"),
    "a value": (ending(lambda own, x: x if x.max() > 1 else x.relu()), f"Network: the operation max {BY_POSITION}"),
    "control flow": (ending(lambda own, x: x if x else x.relu()), f"Network: the operation bool {BY_POSITION}"),
    "a loop": (ending(lambda own, x: sum(each for each in x)), f"Network: the operation dim {BY_POSITION}"),
    "what is not contiguous": (ending(lambda own, x: x.permute(0, 2, 3, 1)), "Network: the operation permute"),
    "a number": (
        ending(lambda own, x: x + 1),
        "Network: expected a map, got int: add and concatenate only maps",
    ),
    "a tensor": (ending(lambda own, x: x + torch.ones(2, 1, 1)), "Network: expected a map, got Tensor: add"),
    "a weight": (ending(lambda own, x: x + own.first.bias), "Network: expected a map, got Parameter: add"),
    "a factor": (ending(lambda own, x: torch.add(x, x, alpha=2)), "Network cannot be traced: TypeError: "),
    "another dimension": (ending(lambda own, x: torch.cat([x, x], dim=2)), f"Network: cat(dim=2) {BY_POSITION}dim=1"),
    "broadcasting": (
        ending(lambda own, x: x + own.one(x), one=conv(2, 1)),
        "Network: a map has 1 features, expected 2",
    ),
    "too few features": (ending(lambda own, x: own.wide(x), wide=conv(3)), "wide: a map has 2 features, expected 3"),
    "too many features": (
        ending(lambda own, x: own.lstm(torch.cat([x, x], dim=1)), lstm=RowLSTM(2, 2)),
        "lstm: a map has 4 features, expected 2",
    ),
    "what is added": (
        ending(lambda own, x: own.a(x, plus=own.one(x)), a=conv(), one=conv(2, 1)),
        "a: a map has 1 features",
    ),
    "no mask": (
        ending(lambda own, x: own.free(x), free=nn.Conv2d(2, 2, 1)),
        f'free: nn.Conv2d {BY_POSITION}MaskedConv2d("B", …), or nn.Conv2d of size 1×1 of the condition',
    ),
    "a mask of its own": (
        ending(lambda own, x: own.free(x), free=OwnMask(2, 2, 1)),
        "free: OwnMask with an overridden forward cannot be computed",
    ),
    "a forward of its own": (
        ending(lambda own, x: own.a(x), a=replaced(conv())),
        "a: MaskedConv2d with an overridden forward cannot be computed",
    ),
    "unknown arguments": (
        ending(lambda own, x: own.a(x, bias=False), a=conv()),
        "a cannot be traced: TypeError: _Tracer.masked() got an unexpected keyword argument 'bias'",
    ),
    "out of place": (ending(lambda own, x: torch.add(x, x, out=x)), "Network cannot be traced: "),
    "an error": (
        ending(lambda own, x: own.missing(x)),
        "Network cannot be traced: AttributeError: 'Network' object has no attribute",
    ),
    "two results": (
        Network(lambda own, x: (own.first(x), x), first=mask_a(4)),
        "Network: forward must return logits (B, K, C, H, W): end with unflatten(1, (4, 1))",
    ),
    "a map": (Network(lambda own, x: own.first(x), first=mask_a(4)), "Network: forward must return logits"),
    "other levels": (
        Network(lambda own, x: own.first(x).unflatten(1, (-1, 1)), first=mask_a(3)),
        "Network: a map has 3 features, expected 4",
    ),
    "after the logits": (
        Network(lambda own, x: own.first(x).unflatten(1, (-1, 1)).relu(), first=mask_a(4)),
        "Network: an operation after unflatten() cannot be computed",
    ),
    "another order of the logits": (
        Network(lambda own, x: own.first(x).unflatten(1, (1, 4)), first=mask_a(4)),
        f"Network: unflatten(1, (1, 4)) {BY_POSITION}unflatten(1, (4, 1)) for the logits",
    ),
    "the image as logits": (
        Network(lambda own, x: torch.cat([x, x, x, x], dim=1).unflatten(1, (4, 1)), first=mask_a()),
        "Network: feature 0 belongs to channel 0 but sees channel 0 of the current pixel; begin with MaskedConv2d",
    ),
    "a condition": (
        Network(lambda own, x: own.row(own.first(x)), first=mask_a(), row=RowLSTM(2, 2, condition=3)),
        "row: expected a map, got NoneType",
    ),
    "no condition": (
        Network(lambda own, x: own.row(own.first(x), own.first(x)), first=mask_a(), row=RowLSTM(2, 2)),
        "row: a map has 2 features, expected 0",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_computed_position_by_position_is_refused(what: str) -> None:
    network, message = REFUSED[what]
    with pytest.raises(InputError) as refused:
        sample(network, 1, size=(2, 2), levels=4)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def read_first_by(layer: nn.Module) -> Network:
    return Network(lambda own, x: own.last(own.layer(x)).unflatten(1, (1, 3)), layer=layer, last=conv(6, 3, 1, 3))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        *(
            (
                read_first_by(layer),
                r'layer: feature 0 belongs to channel 0 but sees channel 0 .* begin with MaskedConv2d\("A", …\)',
            )
            for layer in (conv(3, 6, 3, 3), RowLSTM(3, 6, channels=3), DiagonalBiLSTM(3, 6, channels=3), nn.ReLU())
        ),
        *(
            (Network(lambda own, x, add=add: add(own.first, x).unflatten(1, (1, 3)), first=mask_a(3, 3)), message)
            for add, message in (
                (lambda layer, x: layer(x, plus=x), "first: feature 0 belongs to channel 0 but sees channel 0"),
                (lambda layer, x: layer(x) + x, "Network: feature 0 belongs to channel 0 but sees channel 0"),
                (lambda layer, x: x + layer(x), "Network: feature 0 belongs to channel 0 but sees channel 0"),
                (lambda layer, x: torch.cat([layer(x), x], dim=1), "feature 3 belongs to channel 0 but sees channel 0"),
            )
        ),
        # Channel G must not see G. Here a layer forgets the channels, or a concatenation moves them.
        (
            Network(
                lambda own, x: own.last(own.first(x)).unflatten(1, (2, 3)),
                first=mask_a(6, 3),
                last=conv(6, 6),
            ),
            "last: feature 0 belongs to channel 0 but sees channel 1 of the current pixel;.*give all layers channels=3",
        ),
        (
            Network(
                lambda own, x: own.last(torch.cat([own.first(x), own.second(x)], dim=1)).unflatten(1, (2, 3)),
                first=mask_a(4, 3),
                second=mask_a(5, 3),
                last=conv(9, 6, 1, 3),
            ),
            "Network: feature 6 belongs to channel 0 but sees channel 1 of the current pixel;.*multiples of 3 features",
        ),
    ],
)
def test_what_sees_the_pixel_that_is_drawn_is_refused(network: Network, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sample(network, 1, size=(2, 2), channels=3, levels=2)


@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_layers_that_see_less_than_they_might_are_right(name: Any) -> None:
    """Masks A in the middle, and layers that all forget the channels."""
    for first, second in (
        (mask_a(6, 3), MaskedConv2d("A", 6, 3, 3, channels=3)),
        (MaskedConv2d("A", 3, 6, 3), conv(6, 3)),
    ):
        network = randomized(Network(lambda own, x: own.b(own.a(x)).unflatten(1, (1, 3)), a=first, b=second))
        x = torch.randint(2, (2, 3, 3, 4), dtype=torch.uint8)
        with backend(name), torch.no_grad():
            torch.testing.assert_close(rows(network, x, 2), parallel(network, 2)(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            nn.Conv2d(2, 2, 3, padding=1),
            "given: nn.Conv2d cannot be computed position by position; use .* nn.Conv2d of size 1×1 of the condition",
        ),
        (nn.Conv2d(2, 2, 1, stride=2), "given: nn.Conv2d cannot be computed"),
        (nn.Conv2d(3, 2, 1), "given: a map has 2 features, expected 3"),
        (nn.ConvTranspose2d(2, 2, 2), "given: ConvTranspose2d cannot be computed"),
    ],
)
def test_what_cannot_be_computed_of_a_condition_is_refused(given: nn.Module, message: str) -> None:
    network = Network(lambda own, x, c: (own.first(x) + own.given(c)).unflatten(1, (2, 1)), first=mask_a(), given=given)
    with pytest.raises(InputError, match=message):
        sample(network, 1, size=(2, 2), levels=2, condition=torch.zeros(1, 2, 2, 2))
    with pytest.raises(InputError, match=r"Network cannot be traced: .* missing 1 required positional argument"):
        sample(network, 1, size=(2, 2), levels=2)
    with pytest.raises(InputError, match=r"Network cannot be traced: .* takes 2 positional arguments but 3 were given"):
        sample(ending(lambda own, x: x), 1, size=(2, 2), levels=4, condition=torch.zeros(1, 2, 2, 2))


def test_compiled_and_parametrized_networks_are_traced() -> None:
    network = randomized(Mixed(1, 4))
    x = torch.zeros(2, 1, 3, 4, dtype=torch.uint8)
    parametrizations.weight_norm(network.narrow)
    nn.init.normal_(network.narrow.parametrizations.weight.original0)
    expected = naive.complete(parallel(network, 4), x, x[:, 0] > 0, generator=seeded())
    network.convolutions.compile(backend=lambda *_: pytest.fail("compiled"))
    compiled: Any = torch.compile(network, backend=lambda *_: pytest.fail("compiled"))
    for each in (network, compiled):
        assert torch.equal(sample(each, 2, size=(3, 4), levels=4, generator=seeded()), expected)


def test_layers_may_be_checkpointed() -> None:
    def forward(own: Any, x: Tensor) -> Tensor:
        return own.last(checkpoint(own.row, own.first(x), use_reentrant=False)).unflatten(1, (1, 1))

    network = Network(forward, first=mask_a(), row=RowLSTM(2, 2), last=conv(2, 1))
    assert len(traced(network, levels=2).steps) == 4  # with the image
