import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from pixelrnn import InputError, MultiScalePixelRNN, PixelRNN
from pixelrnn.likelihood import log_prob_map
from pixelrnn.models import from_pretrained
from pixelrnn.nn import LayerKind
from pixelrnn.ops import Backend, backend
from pixelrnn.sampling import Row, naive
from tests.checks import reach

LAYERS: list[LayerKind] = ["diagonal-bilstm", "row-lstm", "pixel-cnn"]


def model_of(**options: Any) -> MultiScalePixelRNN:
    model = MultiScalePixelRNN(**{"factors": (2,), "levels": 2, "hidden": 4, **options}).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def every_image(height: int, width: int) -> torch.Tensor:
    values = torch.tensor(list(itertools.product([0, 1], repeat=height * width)), dtype=torch.uint8)
    return values.reshape(-1, 1, height, width)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("factors", "size"), [((2,), (3, 3)), ((2, 2), (3, 3)), ((3,), (2, 4)), ((4,), (1, 5))])
def test_the_probabilities_of_all_images_sum_to_one(
    layer: LayerKind, factors: tuple[int, ...], size: tuple[int, int]
) -> None:
    p = model_of(factors=factors, layer=layer).log_prob(every_image(*size)).exp()
    assert p.max() > 1.1 * p.min()
    assert p.sum().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("factors", "levels"), [((2,), 2), ((2, 3), 4)])
def test_the_logits_are_those_of_the_log_probabilities(layer: LayerKind, factors: tuple[int, ...], levels: int) -> None:
    model = model_of(factors=factors, layer=layer, channels=3, levels=levels, classes=["a", "b"])
    x, labels = torch.randint(levels, (2, 3, 7, 8), dtype=torch.uint8), torch.tensor([1, 0])
    logits = model(x, labels=labels)
    assert logits.shape == (2, 1 if levels == 2 else levels, 3, 7, 8)
    scores, expected = log_prob_map(logits, x), model.log_prob_map(x, labels=labels)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-10)
    for got, wanted in zip(*(gradients(model, each) for each in (scores, expected)), strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)


def gradients(model: MultiScalePixelRNN, scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(scores.sum(), list(model.parameters()))


def test_it_trains_under_distributed_data_parallel(tmp_path: Path) -> None:
    model, calls = model_of(factors=(2,), classes=["a", "b"]), list[str]()
    x, labels = torch.randint(2, (2, 1, 5, 4), dtype=torch.uint8), torch.tensor([1, 0])
    expected = gradients(model, model.log_prob_map(x, labels=labels))
    model.register_forward_hook(lambda *_: calls.append("forward"))
    for name, parameter in model.named_parameters():
        parameter.register_hook(lambda _, name=name: calls.append(name))
    distributed.init_process_group("gloo", init_method=(tmp_path / "store").as_uri(), rank=0, world_size=1)
    try:
        parallel = DistributedDataParallel(model)
        log_prob_map(parallel(x, labels=labels), x).sum().backward()
    finally:
        distributed.destroy_process_group()
    assert sorted(calls) == sorted(["forward", *dict(model.named_parameters())])
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=1e-10)


def test_each_scale_adds_the_terms_of_its_own_pixels() -> None:
    model = model_of(factors=(2, 3), channels=3, levels=4)
    x = torch.randint(4, (2, 3, 7, 8), dtype=torch.uint8)
    smallest, middle = x[:, :, ::6, ::6], x[:, :, ::3, ::3]
    terms = [model.log_prob_map_of_scale(x, k) for k in range(3)]
    assert [tuple(t.shape[2:]) for t in terms] == [(2, 2), (3, 3), (7, 8)]
    torch.testing.assert_close(terms[0], model.scales[0].log_prob_map(smallest))
    condition = model.upsampling[0](smallest.double() * 2 / 3 - 1, 3, 3)
    expected = model.scales[1].log_prob_map(middle, condition=condition)
    new = torch.ones(3, 3, dtype=torch.bool)
    new[::2, ::2] = False
    torch.testing.assert_close(terms[1], expected * new)
    whole = model.log_prob_map(x)
    torch.testing.assert_close(whole.sum(dim=(1, 2, 3)), sum(t.sum(dim=(1, 2, 3)) for t in terms))
    torch.testing.assert_close(whole[:, :, ::6, ::6], terms[0])


@pytest.mark.parametrize("layer", LAYERS)
def test_no_term_depends_on_a_later_pixel(layer: LayerKind) -> None:
    """The logits of the conditional scale see earlier pixels, and all pixels of the small image."""
    model = model_of(layer=layer, channels=3, levels=3).double()
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, 0.01, 0.1)

    def logits(x: torch.Tensor) -> torch.Tensor:
        return model.scales[1].logits(x, model.upsampling[0](x[:, :, ::2, ::2], 4, 4))

    reached = reach(logits, torch.rand(1, 3, 4, 4, dtype=torch.double)).any(dim=0)  # (C, H, W, C, H, W)
    small = torch.zeros(4, 4, dtype=torch.bool)
    small[::2, ::2] = True
    for c, i, j, b, u, v in itertools.product(range(3), range(4), range(4), range(3), range(4), range(4)):
        earlier = (u, v, b) < (i, j, c)
        assert earlier or small[u, v] or not reached[c, i, j, b, u, v]
    assert reached[:, 0, 1, :, 2, 2].all()  # a pixel of the small image that is a later pixel of the large one


@pytest.mark.parametrize("layer", LAYERS)
def test_completions_are_those_of_naive_samplers(layer: LayerKind) -> None:
    model = model_of(factors=(2, 2), layer=layer, channels=3, levels=3, classes=["a", "b"])
    x, labels = torch.randint(3, (4, 3, 7, 5), dtype=torch.uint8), torch.tensor([0, 1, 1, 0])
    known = torch.rand(4, 7, 5) < 0.4
    noise = torch.Generator().manual_seed(0)
    done = torch.zeros(0)
    for k, step in enumerate((4, 2, 1)):
        image, mask = x[:, :, ::step, ::step].clone(), known[:, ::step, ::step].clone()
        if k:
            image[:, :, ::2, ::2], mask[:, ::2, ::2] = done, True
        given = model.upsampling[k - 1](done.double() - 1, *image.shape[2:]) if k else None

        def logits(
            x: torch.Tensor, scale: PixelRNN = model.scales[k], given: torch.Tensor | None = given
        ) -> torch.Tensor:
            return scale(x, labels=labels, condition=None if given is None else given[:, :, : x.shape[2]])

        done = naive.complete(logits, image, mask, temperature=0.7, generator=noise)
    assert torch.equal(done.masked_select(known[:, None]), x.masked_select(known[:, None]))
    names: list[Backend] = ["reference", "cpu"]
    for name in names:
        rows: list[Row] = []
        how: dict[str, Any] = {"generator": torch.Generator().manual_seed(0), "on_row": rows.append}
        with backend(name):
            drawn = model.complete(x, known, labels=labels, temperature=0.7, **how)
        assert torch.equal(drawn, done), name
        assert torch.equal(torch.stack([row.pixels for row in rows], dim=2), drawn), name


def test_the_first_samples_of_more_are_the_same() -> None:
    model = model_of(factors=(2, 2), channels=3, levels=3)
    three, eight = (model.sample(n, height=5, width=6, generator=torch.Generator().manual_seed(0)) for n in (3, 8))
    assert torch.equal(three, eight[:3])


def test_samples_follow_the_model() -> None:
    model, n = model_of(layer="row-lstm"), 200_000
    expected = model.log_prob(every_image(2, 3)).exp() * n
    samples = model.sample(n, height=2, width=3, generator=torch.Generator().manual_seed(0)).reshape(n, 6)
    observed = torch.bincount((samples.long() * 2 ** torch.arange(5, -1, -1)).sum(dim=1), minlength=64)
    chi_square = ((observed - expected) ** 2 / expected).sum()
    assert chi_square < 103.4  # the 99.9th percentile for 63 degrees of freedom


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    model = MultiScalePixelRNN(factors=(2, 2), levels=4, hidden=3, size=(9, 7), classes=["a", "b"], upsampled=5)
    model.save_pretrained(tmp_path)
    x, labels = torch.randint(4, (2, 1, 9, 7), dtype=torch.uint8), torch.tensor([0, 1])
    for read in (MultiScalePixelRNN.from_pretrained(tmp_path), from_pretrained(tmp_path)):
        assert isinstance(read, MultiScalePixelRNN)
        assert torch.equal(read.log_prob(x, labels=labels), model.log_prob(x, labels=labels))
        assert read.size == (9, 7)
    with pytest.raises(InputError, match=r"configuration of a PixelRNN: 'MultiScalePixelRNN'"):
        PixelRNN.from_pretrained(tmp_path)


def test_a_scale_has_its_own_weights() -> None:
    model = model_of(factors=(2, 2))
    model.log_prob_map_of_scale(torch.randint(2, (2, 1, 8, 8), dtype=torch.uint8), 1).sum().backward()
    touched = {tuple(name.split(".")[:2]) for name, p in model.named_parameters() if p.grad is not None}
    assert touched == {("scales", "1"), ("upsampling", "0")}


def test_every_scale_is_conditional_on_the_class() -> None:
    model, x = model_of(factors=(2,), classes=["a", "b"]), every_image(2, 2)
    by_class = model.log_prob_by_class(x)
    torch.testing.assert_close(by_class.exp().sum(dim=0), torch.ones(2, dtype=torch.double))
    labels = torch.arange(16) % 2
    torch.testing.assert_close(model.log_prob(x, labels=labels), by_class[torch.arange(16), labels])
    for k in range(2):
        terms = model.log_prob_map_of_scale(x, k, labels=labels)
        alone = [model.log_prob_map_of_scale(x[n : n + 1], k, labels=labels[n : n + 1]) for n in range(16)]
        torch.testing.assert_close(terms, torch.cat(alone))
        assert not torch.allclose(terms, model.log_prob_map_of_scale(x, k, labels=1 - labels))


@pytest.mark.parametrize("name", ["reference", "cpu"])
@pytest.mark.parametrize("layer", LAYERS)
def test_it_samples_under_autocast(name: Backend, layer: LayerKind) -> None:
    model = MultiScalePixelRNN(factors=(2,), levels=4, hidden=4, layer=layer)
    with backend(name), torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.sample(2, height=4, width=4).shape == (2, 1, 4, 4)


@pytest.mark.usefixtures("as_a_user")
def test_bad_arguments_are_refused() -> None:
    factors: Any
    for factors, message in (
        ([], "the number of factors must be at least 1, got 0"),
        ([1], "factors must be from 2 to 64, got 1"),
        ([2, 0], "factors must be from 2 to 64, got 0"),
        ([2.5], r"factors must be a whole number, got 2\.5"),
        ([10**9], "factors must be from 2 to 64, got 1000000000"),
    ):
        with pytest.raises(InputError, match=message):
            MultiScalePixelRNN(factors=factors)
    with pytest.raises(InputError, match="upsampled must be at least 1, got 0"):
        MultiScalePixelRNN(factors=[2], upsampled=0)
    model, x = model_of(), torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(InputError, match="scale must be from 0 to 1, got 2"):
        model.log_prob_map_of_scale(x, 2)
    with pytest.raises(InputError, match="a level 9, expected 0 to 1"):
        model.log_prob(x + 9)
    with pytest.raises(InputError, match=r"expected bool \(4, 4\)"):
        model.complete(x, x[0, 0])
