import copy
import itertools
import math
import pickle
from typing import Any

import pytest
import torch

from pixelrnn import InputError, PixelRNN
from pixelrnn.models import pixel_rnn
from pixelrnn.nn import LayerKind, OutputHead
from pixelrnn.ops import Backend, backend
from tests import oracle
from tests.checks import equals_oracle, reach, sub_pixel_order

LAYERS: list[LayerKind] = ["diagonal-bilstm", "row-lstm", "pixel-cnn"]


class Logits(torch.nn.Module):
    """The network of a model as a module: it maps intensities and a condition to logits."""

    def __init__(self, model: PixelRNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        return self.model.logits(x, condition)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("residual", "skip"), [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_network_equals_the_oracle(layer: LayerKind, residual: bool, skip: bool, batch: int) -> None:
    options: dict[str, Any] = {"layer": layer, "channels": 3, "depth": 2, "residual": residual, "skip": skip}
    equals_oracle(
        Logits(PixelRNN(levels=3, hidden=3, **options)),
        lambda x, p: oracle.network(x, oracle.part(p, "model"), **options),
        torch.randn(batch, 3, 2, 2),
        tolerance=1e-9,  # these large weights give logits in the hundreds
    )


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("batch", [1, 2])
def test_the_conditional_network_equals_the_oracle(layer: LayerKind, batch: int) -> None:
    options: dict[str, Any] = {"layer": layer, "channels": 3, "depth": 2, "residual": True, "skip": True}
    equals_oracle(
        Logits(PixelRNN(levels=3, hidden=3, condition=2, **options)),
        lambda x, p, given: oracle.network(x, oracle.part(p, "model"), condition=given, **options),
        torch.randn(batch, 3, 2, 2),
        torch.randn(batch, 2, 2, 2),
        tolerance=1e-9,
    )


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("size", [(3, 4), (4, 2)])
def test_no_logit_depends_on_its_own_or_a_later_sub_pixel(
    layer: LayerKind, channels: int, depth: int, residual: bool, skip: bool, size: tuple[int, int]
) -> None:
    model = PixelRNN(
        layer=layer, channels=channels, levels=3, hidden=4, depth=depth, residual=residual, skip=skip
    ).double()
    # Positive weights on positive intensities: no ReLU hides a path.
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, 0.01, 0.1)
    reached = reach(model.logits, torch.rand(1, channels, *size, dtype=torch.double)).any(dim=0)
    order = sub_pixel_order(reached)
    n = channels * size[0] * size[1]
    earlier = torch.ones(n, n).tril(-1).bool()
    assert not (order & ~earlier).any()
    if layer == "diagonal-bilstm":  # and sees every earlier one, R → G → B included
        assert torch.equal(order, earlier)
    else:  # at least the sub-pixel before: the previous channel, or the pixel to the left
        before = [n - 1 for n in range(1, n) if n % (channels * size[1])]  # except at the start of a row
        assert order.diagonal(-1)[before].all()


@pytest.mark.parametrize("layer", LAYERS)
def test_a_condition_may_reach_everywhere_and_pixels_may_not(layer: LayerKind) -> None:
    model = PixelRNN(layer=layer, channels=3, levels=3, hidden=4, depth=2, condition=2).double()
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, 0.01, 0.1)
    x, given = torch.rand(1, 3, 3, 4, dtype=torch.double), torch.rand(1, 2, 3, 4, dtype=torch.double)
    order = sub_pixel_order(reach(lambda x: model.logits(x, given.expand(len(x), -1, -1, -1)), x).any(dim=0))
    assert not (order & ~torch.ones(36, 36).tril(-1).bool()).any()
    own = reach(lambda c: model.logits(x.expand(len(c), -1, -1, -1), c), given).any(dim=0)  # (3, 3, 4, 2, 3, 4)
    assert own.flatten(3).any(dim=3).all()
    at_itself = torch.arange(3)[:, None], torch.arange(4)
    assert own.permute(0, 3, 1, 4, 2, 5)[:, :, at_itself[0], at_itself[0], at_itself[1], at_itself[1]].all()


@pytest.mark.parametrize("layer", LAYERS)
def test_classes_are_conditions(layer: LayerKind) -> None:
    model = PixelRNN(layer=layer, levels=2, hidden=3, classes=["a", "b", "c"]).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    images = torch.tensor(list(itertools.product([0, 1], repeat=4)), dtype=torch.uint8).reshape(-1, 1, 2, 2)
    by_class = model.log_prob_by_class(images)
    assert by_class.shape == (16, 3)
    torch.testing.assert_close(by_class.exp().sum(dim=0), torch.ones(3, dtype=torch.double))  # each is a density
    assert not torch.allclose(by_class[:, 0], by_class[:, 1])
    labels = torch.arange(16) % 3
    torch.testing.assert_close(model.log_prob(images, labels=labels), by_class[torch.arange(16), labels])
    drawn = model.sample(30_000, height=1, width=1, labels=torch.full((30_000,), 1))
    p = model.log_prob_by_class(torch.ones(1, 1, 1, 1, dtype=torch.uint8))[0, 1].exp().item()
    assert drawn.double().mean().item() == pytest.approx(p, abs=0.02)


@pytest.mark.usefixtures("as_a_user")
def test_bad_conditions_are_refused() -> None:
    x = torch.zeros(2, 1, 3, 3, dtype=torch.uint8)
    plain, classes = PixelRNN(levels=2, hidden=2), PixelRNN(levels=2, hidden=2, classes=["a", "b"])
    with pytest.raises(InputError, match="not conditional on a class: expected no labels"):
        plain.log_prob(x, labels=torch.tensor([0, 1]))
    with pytest.raises(InputError, match="not conditional on a class"):
        plain.log_prob_by_class(x)
    with pytest.raises(InputError, match="labels are missing, expected one of 2 classes"):
        classes.sample(1, height=2, width=2)
    with pytest.raises(InputError, match=r"labels: int64 tensor \(1,\), expected whole numbers \(2,\)"):
        classes.log_prob(x, labels=torch.tensor([0]))
    with pytest.raises(InputError, match="labels: float32 tensor"):
        classes.log_prob(x, labels=torch.tensor([0.0, 1.0]))
    for label in (2, -1):
        with pytest.raises(InputError, match=f"labels have a class {label}, expected 0 to 1"):
            classes.log_prob(x, labels=torch.tensor([0, label]))
    with pytest.raises(InputError, match=r"the condition is \(2, 3, 3, 3\), expected none"):
        plain.log_prob(x, condition=torch.zeros(2, 3, 3, 3))
    mapped = PixelRNN(levels=2, hidden=2, condition=3)
    with pytest.raises(InputError, match=r"the condition is none, expected \(2, 3, 3, 3\)"):
        mapped.log_prob(x)
    with pytest.raises(InputError, match=r"the condition is \(2, 3, 2, 3\), expected \(2, c, 3, 3\)"):
        mapped.complete(x, x[0, 0] > 0, condition=torch.zeros(2, 3, 2, 3))
    for names in (["a"], ["a", "a"], ["a", "a", "b"], [1, 2], "ab", {"a": 1, "b": 2}, 3):
        wrong: Any = names
        with pytest.raises(InputError, match="classes must be two or more different names"):
            PixelRNN(classes=wrong)
    with pytest.raises(InputError, match="condition must be at least 0, got -1"):
        PixelRNN(condition=-1)


@pytest.mark.parametrize("name", ["reference", "cpu"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_map_of_any_precision_is_taken(name: Backend, dtype: torch.dtype, layer: LayerKind) -> None:
    model = PixelRNN(layer=layer, levels=4, hidden=4, condition=2)
    x, given = torch.zeros(2, 1, 3, 3, dtype=torch.uint8), (torch.rand(2, 2, 3, 3) > 0.5).to(dtype)
    with backend(name):
        expected = model.log_prob(x, condition=given.float())
        assert torch.equal(model.log_prob(x, condition=given), expected)
        drawn = model.sample(2, height=3, width=3, condition=given, generator=torch.Generator().manual_seed(0))
        assert drawn.shape == x.shape


@pytest.mark.parametrize("channels", [1, 3])
def test_the_likelihood_of_many_logits_is_computed_in_parts(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = PixelRNN(channels=channels, levels=7, hidden=4).double()
    x = torch.randint(7, (2, channels, 5, 3), dtype=torch.uint8)

    def gradients() -> list[torch.Tensor]:
        scores = model.log_prob_map(x)
        return [scores, *torch.autograd.grad(scores.sum(), list(model.parameters()))]

    whole = gradients()
    heads: list[torch.Size] = []
    forward = OutputHead.forward

    def recording(self: OutputHead, body: torch.Tensor) -> torch.Tensor:
        heads.append(body.shape)
        return forward(self, body)

    monkeypatch.setattr(OutputHead, "forward", recording)
    monkeypatch.setattr(pixel_rnn, "MOST_LOGITS", 2 * channels * 7 * 3 * 2)  # two rows
    for part, expected in zip(gradients(), whole, strict=True):
        torch.testing.assert_close(part, expected, rtol=0, atol=1e-12)
    # The backward pass computes each part again, so no part was kept.
    assert [shape[2] for shape in heads] in ([2, 2, 1, 1, 2, 2], [2, 2, 1, 2, 2, 1])


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("channels", "height", "width"), [(1, 2, 3), (3, 1, 2)])
def test_the_probabilities_of_all_images_sum_to_one(layer: LayerKind, channels: int, height: int, width: int) -> None:
    model = PixelRNN(layer=layer, channels=channels, levels=2, hidden=4, depth=2).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # far from uniform
    images = torch.tensor(list(itertools.product([0, 1], repeat=channels * height * width)), dtype=torch.uint8)
    p = model.log_prob(images.reshape(-1, channels, height, width)).exp()
    assert p.max() > 2 * p.min()
    assert p.sum().item() == pytest.approx(1, abs=1e-6)


def test_the_probabilities_of_three_levels_sum_to_one() -> None:
    model = PixelRNN(levels=3, hidden=4).double()
    images = torch.tensor(list(itertools.product([0, 1, 2], repeat=4)), dtype=torch.uint8).reshape(-1, 1, 2, 2)
    assert model.log_prob(images).exp().sum().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (6, 1), (5, 3)])
def test_any_size_with_the_same_weights(layer: LayerKind, size: tuple[int, int]) -> None:
    model = PixelRNN(layer=layer, channels=2, levels=5, hidden=3, depth=2)
    x = torch.randint(5, (2, 2, *size), dtype=torch.uint8)
    by_sub_pixel = model.log_prob_map(x)
    assert by_sub_pixel.shape == x.shape
    assert model(x).shape == (2, 5, 2, *size)
    torch.testing.assert_close(model.log_prob(x), by_sub_pixel.sum(dim=(1, 2, 3)))


def test_intensities_are_scaled_and_centred() -> None:
    model = PixelRNN(levels=5, hidden=8).double()
    x = torch.arange(5, dtype=torch.uint8).reshape(1, 1, 1, 5)
    scaled = torch.tensor([-1, -0.5, 0, 0.5, 1], dtype=torch.double).reshape(1, 1, 1, 5)
    torch.testing.assert_close(model(x), model.logits(scaled))


@pytest.mark.parametrize("layer", LAYERS)
def test_inference_does_not_get_in_the_way_of_training(layer: LayerKind) -> None:
    model = PixelRNN(layer=layer, levels=2, hidden=2)
    x = torch.zeros(1, 1, 9, 11, dtype=torch.uint8)  # no other test has cached the lines of this size
    with torch.inference_mode():
        model.log_prob(x)
    model.log_prob(x).sum().backward()


def test_log_prob_map_is_given_all_before_it() -> None:
    model = PixelRNN(channels=3, levels=4, hidden=6)
    x = torch.randint(4, (1, 3, 3, 3), dtype=torch.uint8)
    changed = x.clone()
    changed[0, 1, 1, 1] = (x[0, 1, 1, 1] + 1) % 4  # channel G of the pixel in the middle
    same = model.log_prob_map(x) == model.log_prob_map(changed)
    assert same[0, :, 0].all()
    assert same[0, :, 1, 0].all()
    assert same[0, 0, 1, 1]
    assert not same[0, 1:, 1, 1].any()


def test_untrained_models_are_near_uniform() -> None:
    x = torch.randint(17, (8, 1, 8, 8), dtype=torch.uint8)
    per_pixel = -PixelRNN(levels=17).log_prob(x).mean().item() / 64
    assert per_pixel == pytest.approx(math.log(17), rel=0.1)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 1}, "levels must be from 2 to 256, got 1"),
        ({"levels": 257}, "levels must be from 2 to 256, got 257"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"hidden": 0}, "hidden must be at least 1, got 0"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"channels": 3, "hidden": 2}, "2 features cannot hold 3 channels"),
        ({"channels": 3, "hidden": 3, "head": 2}, "2 features cannot hold 3 channels"),
        ({"dropout": 1.0}, r"dropout must be at least 0 and below 1, got 1\.0"),
        ({"dropout": "half"}, "dropout must be a number, got 'half'"),
        ({"levels": "five"}, "levels must be a whole number, got 'five'"),
        ({"residual": "no"}, "residual must be true or false, got 'no'"),
        ({"size": (2.5, 3)}, r"size must be \(height, width\), each at least 1, got \(2\.5, 3\)"),
        ({"head": 0}, "head must be at least 1, got 0"),
        ({"size": 28}, r"size must be \(height, width\), each at least 1, got 28: pass \(28, 28\) for 28×28"),
        ({"size": (0, 4)}, r"size must be \(height, width\), each at least 1, got \(0, 4\)"),
        ({"layer": "lstm"}, "unknown layer 'lstm'"),
    ],
)
def test_bad_models_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PixelRNN(**options)


@pytest.mark.usefixtures("as_a_user")
def test_bad_images_are_refused() -> None:
    model = PixelRNN(levels=4, hidden=2)
    with pytest.raises(InputError, match=r"a float32 tensor \(1, 1, 2, 2\), expected uint8 \(B, 1, H, W\)"):
        model.log_prob(torch.zeros(1, 1, 2, 2))
    with pytest.raises(InputError, match=r"a uint8 tensor \(1, 3, 2, 2\), expected uint8 \(B, 1, H, W\)"):
        model.log_prob(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
    with pytest.raises(InputError, match=r"\(2, 2\), expected"):
        model.log_prob(torch.zeros(2, 2, dtype=torch.uint8))
    with pytest.raises(InputError, match="a level 4, expected 0 to 3"):
        model.log_prob(torch.full((1, 1, 2, 2), 4, dtype=torch.uint8))


@pytest.mark.parametrize("layer", LAYERS)
def test_copies_and_pickles_compute_the_same(layer: LayerKind) -> None:
    model, x = PixelRNN(layer=layer, levels=2, hidden=3), torch.randint(2, (2, 1, 4, 3), dtype=torch.uint8)
    model.sample(1, height=2, width=2)  # a copy does not include the cached trace of sampling
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x), model(x))
        drawn = [
            each.sample(3, height=3, width=3, generator=torch.Generator().manual_seed(0)) for each in (model, other)
        ]
        assert torch.equal(*drawn)
