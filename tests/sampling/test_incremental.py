from typing import Any

import pytest
import torch
from pixelrnn.backend import Backend, backend

from pixelrnn import PixelRNN
from pixelrnn.incremental import RowOfImages, compiled, reference
from pixelrnn.nn import LayerKind
from pixelrnn.sampling import Row, incremental, naive

LAYERS: list[LayerKind] = ["diagonal-bilstm", "row-lstm", "pixel-cnn"]
BACKENDS: list[Backend] = ["reference", "compiled"]


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model_of(layer: LayerKind, **options: Any) -> PixelRNN:
    model = PixelRNN(layer=layer, **{"levels": 4, "hidden": 4, "depth": 2, **options}).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("channels", "levels"), [(1, 2), (3, 4)])
@pytest.mark.parametrize("part_known", [0.0, 0.7])
def test_draws_the_images_of_the_naive_sampler(
    name: Backend, layer: LayerKind, channels: int, levels: int, part_known: float
) -> None:
    model = model_of(layer, channels=channels, levels=levels)
    x = torch.randint(levels, (5, channels, 5, 7), dtype=torch.uint8)
    known = torch.rand(5, 5, 7) < part_known
    known[:, 2] = part_known > 0  # a row that all images know, and a part of one
    known[:, 3, 2:5] = part_known > 0
    expected = naive.complete(model, x, known, temperature=0.8, generator=seeded())
    with backend(name):
        assert torch.equal(model.complete(x, known, temperature=0.8, generator=seeded()), expected)


@pytest.mark.parametrize("name", BACKENDS)
def test_rows_come_with_what_they_were_drawn_from(name: Backend) -> None:
    model = model_of("diagonal-bilstm", channels=3)
    x = torch.randint(4, (2, 3, 4, 5), dtype=torch.uint8)
    known = torch.rand(2, 4, 5) < 0.3
    known[:, 1, 1:4] = True
    rows: list[Row] = []
    with backend(name):
        completed = model.complete(x, known, generator=seeded(), on_row=rows.append)
    assert [row.index for row in rows] == [0, 1, 2, 3]
    assert torch.equal(torch.stack([row.pixels for row in rows], dim=2), completed)
    logits = torch.stack([row.logits for row in rows], dim=3)
    drawn = ~known.all(dim=0)
    torch.testing.assert_close(logits[..., drawn], model(completed)[..., drawn], rtol=0, atol=1e-10)
    assert logits[..., ~drawn].isnan().all()


def test_rows_are_drawn_when_they_are_asked_for() -> None:
    model = model_of("row-lstm")
    nothing = torch.zeros(2, 1, 3, 3, dtype=torch.uint8)
    noise = seeded()
    drawing = incremental.complete(model.incremental(3, 3), nothing, nothing[:, 0] > 0, generator=noise)
    first = next(drawing)
    assert first.pixels.shape == (2, 1, 3)
    assert first.logits.grad_fn is None
    expected = seeded()
    torch.rand(3, 1, 2, dtype=torch.double, generator=expected)  # the noise of one row, and no more
    assert torch.equal(noise.get_state(), expected.get_state())


def test_noise_belongs_to_its_place() -> None:
    """What is known does not move the noise of what is not."""
    model = model_of("row-lstm", levels=2)
    everywhere = model.sample(4, height=3, width=3, generator=seeded())
    known = torch.zeros(3, 3, dtype=torch.bool)
    known[0] = True
    assert torch.equal(model.complete(everywhere, known, generator=seeded()), everywhere)


@pytest.mark.parametrize("name", BACKENDS)
def test_rows_below_the_last_unknown_pixel_are_not_computed(name: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    model, computed = model_of("row-lstm"), list[int]()
    x = torch.randint(4, (2, 1, 5, 3), dtype=torch.uint8)
    known = torch.ones(5, 3, dtype=torch.bool)
    known[1, 2] = False
    kind: Any = compiled.Network if name == "compiled" else reference.Network
    row = kind.row

    def counting(self: Any, given: RowOfImages) -> torch.Tensor:
        computed.append(len(given.levels))
        logits: torch.Tensor = row(self, given)
        return logits

    monkeypatch.setattr(kind, "row", counting)
    rows: list[Row] = []
    noise = seeded()
    with backend(name):
        completed = model.complete(x, known, generator=noise, on_row=rows.append)
    assert len(computed) == 2
    assert torch.equal(completed[:, :, 2:], x[:, :, 2:])
    assert [row.index for row in rows] == [*range(5)]
    assert all(row.logits.isnan().all() and row.logits.dtype == torch.double for row in rows[2:])
    expected = seeded()
    torch.rand(5, 3, 1, 2, dtype=torch.double, generator=expected)  # the noise of all rows, whatever is known
    assert torch.equal(noise.get_state(), expected.get_state())


def test_what_is_given_is_not_written_to() -> None:
    x = torch.zeros(1, 1, 3, 3, dtype=torch.uint8)  # whose positions can be outermost without a copy
    model_of("row-lstm").complete(x, x[0, 0] > 0, generator=seeded())
    assert not x.any()
