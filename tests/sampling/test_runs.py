"""Runs of sub-pixels: the caller chooses the levels of several at a time, where the library can guess them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pixelrnn import InputError, MultiScalePixelRNN, PixelRNN
from pixelrnn.nn import MaskedConv2d
from pixelrnn.ops import backend, cpu
from pixelrnn.sampling import runs
from tests.sampling.networks import randomized

pytestmark = pytest.mark.skipif(not cpu.available, reason="the compiled library is missing")


def sharp(model: Any) -> Any:
    """The model with large logits, so that it guesses ahead."""
    model = randomized(model).double()
    for network in getattr(model, "scales", [model]):
        with torch.no_grad():
            network.head.layers[-1].weight.mul_(8)
    return model


def stepped(generator: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Takes the likeliest levels, but others at every seventh step. Returns logits, levels and images."""
    logits, levels = list[Tensor](), list[Tensor]()
    try:
        while True:
            step = next(generator)
            likeliest = step.logits.argmax(dim=1) if step.logits.shape[1] > 1 else (step.logits[:, 0] > 0).long()
            least = step.logits.argmin(dim=1) if step.logits.shape[1] > 1 else 1 - likeliest
            levels.append(least if len(levels) % 7 == 6 else likeliest)
            logits.append(step.logits)
            step.set(levels[-1])
    except StopIteration as end:
        return torch.stack(logits), torch.stack(levels), end.value


def run(generator: Any, levels: Tensor, *, most: int = 1000) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
    """Gives these levels, up to ``most`` at a time. Returns logits, images, and the length of each run with the number
    of its sub-pixels that held.
    """
    logits, lengths, at = list[Tensor](), list[tuple[int, int]](), 0
    try:
        while True:
            found = next(generator)
            n = len(found.logits)
            held = found.set(levels[at : at + min(n, most)])
            lengths.append((n, held))
            logits.append(found.logits[:held].clone())
            at += held
    except StopIteration as end:
        return torch.cat(logits), end.value, lengths


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("images", [1, 2, 30])
@pytest.mark.parametrize(
    "model",
    [
        PixelRNN(levels=2, hidden=3),
        PixelRNN(levels=3, hidden=6, channels=3, orders=4),
        PixelRNN(levels=2, hidden=3, channels=2, layer="row-lstm"),
        PixelRNN(levels=5, hidden=3, layer="pixel-cnn", depth=2),
        MultiScalePixelRNN(factors=(2,), levels=4, hidden=3, channels=3),
    ],
)
def test_runs_are_steps_bit_for_bit(model: Any, images: int, threads: int) -> None:
    model = sharp(model)
    x, unknown = torch.zeros(images, model.channels, 6, 8, dtype=torch.uint8), torch.zeros(6, 8, dtype=torch.bool)
    how = {"order": torch.arange(images) % model.orders} if model.orders > 1 else {}
    logits, levels, drawn = stepped(model.steps(x, unknown, **how))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found, completed, lengths = run(model.runs(x, unknown, **how), levels)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(completed, drawn)
    assert torch.equal(found, logits)
    assert max(held for _, held in lengths) > 1
    if images < 30:  # more images are rarely sure enough to guess wrong
        assert any(held < n for n, held in lengths)


def test_the_caller_may_choose_fewer_levels_than_a_run_has() -> None:
    model, x = sharp(PixelRNN(levels=2, hidden=3)), torch.zeros(1, 1, 5, 6, dtype=torch.uint8)
    logits, levels, drawn = stepped(model.steps(x, x[0, 0] > 0))
    found, completed, lengths = run(model.runs(x, x[0, 0] > 0), levels, most=2)
    assert torch.equal(completed, drawn)
    assert torch.equal(found, logits)
    assert max(n for n, _ in lengths) > 2


def test_known_pixels_are_kept_and_end_a_run() -> None:
    model, known = sharp(PixelRNN(levels=4, hidden=3)), torch.zeros(6, 9, dtype=torch.bool)
    known[1, 4:6] = known[2] = known[3, 0] = known[4, 8] = True
    x = torch.randint(4, (2, 1, 6, 9), dtype=torch.uint8)
    logits, levels, drawn = stepped(model.steps(x, known))
    found, completed, _ = run(model.runs(x, known), levels)
    assert torch.equal(completed, drawn)
    assert torch.equal(found, logits)
    assert torch.equal(completed[:, :, known], x[:, :, known])


class LeftOverflows(nn.Module):
    """The first logit is large, and the next overflows if the pixel before it has level 1."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = MaskedConv2d("A", 1, 1, (1, 3))
        with torch.no_grad():
            self.layer.weight.fill_(3e38)
            self.layer.bias.fill_(3e38)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.layer(image)
        return logits.unflatten(1, (1, 1))


def test_logits_behind_a_wrong_guess_may_be_infinite() -> None:
    network, x = LeftOverflows(), torch.zeros(1, 1, 2, 4, dtype=torch.uint8)
    found, completed, lengths = run(runs(network, x, x[0, 0] > 0, levels=2), torch.zeros(8, 1, dtype=torch.long))
    assert torch.equal(completed, x)
    assert lengths == [(1, 1)] * 8
    assert found[:, 0, 0].tolist() == pytest.approx([3e38, 0, 0, 0] * 2)
    with pytest.raises(InputError, match="logits that are NaN or infinite"):
        run(runs(network, x, x[0, 0] > 0, levels=2), torch.ones(8, 1, dtype=torch.long))


def test_a_run_gets_its_levels_once() -> None:
    """After a wrong guess, the levels are no longer the guesses that the logits depend on."""
    model, x = sharp(PixelRNN(levels=2, hidden=3)), torch.zeros(1, 1, 3, 6, dtype=torch.uint8)
    generator: Any = model.runs(x, x[0, 0] > 0)
    first = next(generator)
    first.set(np.zeros((1, 1), int))
    with pytest.raises(InputError, match="the run has its levels: set them once, before you ask for the next run"):
        first.set(np.zeros((1, 1), int))
    next(generator)
    with pytest.raises(InputError, match="the run has its levels"):
        first.set(np.ones((1, 1), int))


def test_no_guess_is_certain() -> None:
    model, x = sharp(PixelRNN(levels=2, hidden=3)), torch.zeros(1, 1, 5, 6, dtype=torch.uint8)
    logits, levels, _ = stepped(model.steps(x, x[0, 0] > 0))
    found, _, lengths = run(model.runs(x, x[0, 0] > 0, sure=1.0), levels)
    assert torch.equal(found, logits)
    assert lengths == [(1, 1)] * 30


@pytest.mark.usefixtures("as_a_user")
def test_bad_choices_are_refused() -> None:
    model, x = sharp(PixelRNN(levels=4, hidden=3)), torch.zeros(2, 1, 3, 4, dtype=torch.uint8)
    unknown, how = x[0, 0] > 0, dict[str, Any](levels=4, method="logits")
    generator: Any = runs(model, x, unknown, **how)
    found = next(generator)
    n = len(found.logits)
    shapes = [np.zeros(shape, int) for shape in ((2,), (0, 2), (n + 1, 2), (1, 3), (1, 2, 1))]
    anything: Any
    for ragged in ([[0], [0, 0]], torch.zeros(1, 2, requires_grad=True)):
        with pytest.raises(InputError, match="levels must be an array of whole numbers: "):
            found.set(ragged)
    for anything in (*shapes, np.zeros((1, 2)), torch.zeros(1, 2, dtype=torch.bool), [["a", "b"]], 3):
        expected = rf"levels: .* array \(.*\), expected whole numbers \(m, 2\) for m from 1 to {n}"
        with pytest.raises(InputError, match=expected):
            found.set(anything)
    with pytest.raises(InputError, match=r"a run has no levels: call set\(\) before the next run"):
        next(generator)
    known = torch.zeros(2, 3, 4, dtype=torch.bool)
    known[1, 1, 1] = True
    with pytest.raises(InputError, match="known differs between the images, expected the same pixels in all, turned"):
        next(runs(model, x, known, **how))
    for sure in (0.0, 1.1):
        with pytest.raises(InputError, match="sure must be "):
            next(runs(model, x, unknown, sure=sure, **how))
    with backend("reference"), pytest.raises(InputError, match="runs need the compiled library"):
        next(runs(model, x, unknown, **how))
