import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pixelrnn import InputError, MultiScalePixelRNN, PixelRNN
from pixelrnn.data import DataConfig, load
from pixelrnn.models import ImageModel
from pixelrnn.models.orders import turn
from pixelrnn.nn import OutputHead
from pixelrnn.ops import choose
from pixelrnn.pictures import LINE, save_grid, to_8_bit
from pixelrnn.training.batches import Part
from pixelrnn.training.fit import _start_from, fit
from pixelrnn.training.module import LikelihoodTraining
from pixelrnn.training.recipe import ModelConfig, Recipe, TrainConfig
from pixelrnn.training.records import COLUMNS
from tests.training.runs import recipe, rows, watched


def test_a_run_is_a_folder(tmp_path: Path, images: DataConfig) -> None:
    run = tmp_path / "run"
    best = fit(recipe(images, epochs=4, sample_every=3), run)

    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["array_levels"] == 4
    assert config["train"]["epochs"] == 4
    assert [row["epoch"] for row in rows(run)] == ["1", "2", "3", "4"]
    assert [row["step"] for row in rows(run)] == ["5", "10", "15", "20"]
    assert float(rows(run)[-1]["valid_nats"]) < float(rows(run)[0]["valid_nats"])
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert sorted(p.name for p in (run / "samples").iterdir()) == ["epoch-0003.png", "epoch-0004.png"]
    with Image.open(run / "samples" / "epoch-0004.png") as picture:
        assert picture.mode == "L"

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert {"train/nats", "train/bits_per_dim", "valid/nats", "valid/bits_per_dim"} <= set(events.Tags()["scalars"])
    assert any("lr-" in tag for tag in events.Tags()["scalars"])
    assert len(events.Images("samples")) == 2
    valid = [event.value for event in events.Scalars("valid/nats")]
    assert valid == pytest.approx([float(row["valid_nats"]) for row in rows(run)])

    loaded = PixelRNN.from_pretrained(run / "model")
    assert loaded.size == (4, 3)
    x = torch.randint(4, (2, 1, 4, 3), dtype=torch.uint8)
    assert torch.equal(loaded.log_prob(x), best.log_prob(x))


def test_the_exported_model_is_the_best_by_validation(tmp_path: Path, images: DataConfig) -> None:
    model = fit(recipe(images, epochs=5, learning_rate=0.3, clip=0.0, ema=0.0), tmp_path / "run")
    valid = torch.from_numpy(np.load(str(images.path))["valid"])[:, None]
    best = min(float(row["valid_nats"]) for row in rows(tmp_path / "run"))
    assert -model.log_prob(valid).mean().item() == pytest.approx(best, rel=1e-5)


class Record(pl.Callback):
    """Records what a run does at every step."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.weights: list[list[torch.Tensor]] = []
        self.norms: list[float] = []
        self.nats: list[tuple[float, int]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Part, batch_idx: int
    ) -> None:
        self.weights.append([p.detach().clone() for p in pl_module.parameters()])
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        self.norms.append(torch.stack([g.norm() for g in gradients]).norm().item())
        self.nats.append((outputs["nats"].item(), len(batch.pixels)))
        assert outputs["loss"].item() == pytest.approx(outputs["nats"].item() / batch.pixels[0].numel())


def test_every_step_is_as_the_recipe_says(tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record()
    watched(monkeypatch, [], [record])
    run = tmp_path / "run"
    # Batches of 16, 16 and 8.
    fit(recipe(images, batch=16, epochs=3, learning_rate=0.5, warmup=2, clip=1e-3, ema=0.9, sample_every=1), run)

    cosine = [0.25 * (1 + math.cos(math.pi * step / 7)) for step in range(7)]
    assert record.rates == pytest.approx([0.5 / 3, 1 / 3, *cosine])
    assert max(record.norms) <= 1e-3 * 1.001

    average = [w.clone() for w in record.weights[0]]
    for n, current in enumerate(record.weights[1:], start=1):
        decay = min(0.9, (1 + n) / (10 + n))
        average = [decay * a + (1 - decay) * c for a, c in zip(average, current, strict=True)]
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    names = [name.removeprefix("model.") for name in last["state_dict"]]
    for saved, expected in zip(last["state_dict"].values(), average, strict=True):
        torch.testing.assert_close(saved, expected, rtol=1e-4, atol=1e-5)

    # Validation and pictures use the averaged weights.
    model = PixelRNN(levels=4, hidden=2, size=(4, 3))
    model.load_state_dict(dict(zip(names, last["state_dict"].values(), strict=True)))
    valid = torch.from_numpy(np.load(str(images.path))["valid"])[:, None]
    final = rows(run)[-1]
    assert float(final["valid_nats"]) == pytest.approx(-model.log_prob(valid).mean().item(), rel=1e-5)
    samples = to_8_bit(model.sample(16, generator=torch.Generator().manual_seed(0)), 4)
    save_grid(tmp_path / "expected.png", samples)
    assert (run / "samples" / "epoch-0003.png").read_bytes() == (tmp_path / "expected.png").read_bytes()

    epoch = record.nats[-3:]
    assert [count for _, count in epoch] == [16, 16, 8]
    assert float(final["train_nats"]) == pytest.approx(sum(n * count for n, count in epoch) / 40)
    for split in ("train", "valid"):
        bits = float(final[f"{split}_nats"]) / (12 * math.log(2))
        assert float(final[f"{split}_bits_per_dim"]) == pytest.approx(bits)


def test_validation_spreads_the_images_over_the_orders(tmp_path: Path, images: DataConfig) -> None:
    """The images are not square, so the first image of a batch decides whether all orders are transposed."""
    r = recipe(images, batch=2, epochs=1, ema=0.0)  # validation batches of 8 and 2
    model = fit(replace(r, model=replace(r.model, orders=8)), tmp_path / "run")
    valid = torch.from_numpy(np.load(str(images.path))["valid"])[:, None]
    by_rows, by_columns = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3]), torch.tensor([5, 6])
    nats = -model.log_prob(valid[:8], order=by_rows), -model.log_prob(valid[8:], order=by_columns)
    expected = torch.cat(nats).mean().item()
    assert float(rows(tmp_path / "run")[0]["valid_nats"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("factors", "scale"), [((), None), ((2,), None), ((2,), 1)])
def test_training_draws_all_orders(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch, factors: tuple[int, ...], scale: int | None
) -> None:
    seen: list[list[int]] = []
    nats = LikelihoodTraining.nats

    def spied(self: LikelihoodTraining, batch: Part, order: torch.Tensor) -> torch.Tensor:
        loss, model = nats(self, batch, order), self.model.eval()
        if scale is None:
            expected = model.log_prob(batch.pixels, order=order)
        else:
            assert isinstance(model, MultiScalePixelRNN)
            expected = model.log_prob_map_of_scale(batch.pixels, scale, order=order).sum(dim=(1, 2, 3))
        torch.testing.assert_close(loss, -expected.mean())
        if self.training:
            seen.append(order.tolist())
        return loss

    monkeypatch.setattr(LikelihoodTraining, "nats", spied)
    r = recipe(images, epochs=4, scale=scale)
    fit(replace(r, model=replace(r.model, orders=8, factors=factors, dropout=0.0)), tmp_path / "run")
    assert len(seen) == 20
    assert len({tuple(order) for order in seen}) == 20
    assert {k for order in seen for k in order} == set(range(8))
    assert all(len({k // 4 for k in order}) == 1 for order in seen)


def test_validation_weighs_its_batches(tmp_path: Path, images: DataConfig) -> None:
    model = fit(recipe(images, batch=2, epochs=1, ema=0.0), tmp_path / "run")  # validation batches of 8 and 2
    valid = torch.from_numpy(np.load(str(images.path))["valid"])[:, None]
    expected = -model.log_prob(valid).mean().item()
    assert float(rows(tmp_path / "run")[0]["valid_nats"]) == pytest.approx(expected, rel=1e-5)


def test_the_seed_decides_the_weights_and_the_order(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[torch.Tensor]] = []
    log_prob = PixelRNN.log_prob

    def recording(self: PixelRNN, x: torch.Tensor, **options: Any) -> torch.Tensor:
        if self.training:
            seen[-1].append(x)
        return log_prob(self, x, **options)

    monkeypatch.setattr(PixelRNN, "log_prob", recording)
    initial = []
    for n, seed in enumerate((0, 0, 1)):
        seen.append([])
        record = Record()
        with monkeypatch.context() as patched:
            watched(patched, [], [record])
            fit(recipe(images, seed=seed, learning_rate=1e-30), tmp_path / str(n))
        initial.append(record.weights[0][0])
    assert torch.equal(initial[0], initial[1])
    assert not torch.equal(initial[0], initial[2])
    first, again, other = (torch.cat(batches) for batches in seen)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    epochs = first.reshape(2, 40, -1)
    assert not torch.equal(epochs[0], epochs[1])  # every epoch has its own order
    assert torch.equal(epochs[0].unique(dim=0), epochs[1].unique(dim=0))


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "soap"])
def test_bfloat16_trains_with_every_optimizer(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    asked: set[torch.dtype] = set()
    forward = OutputHead.forward

    def recording(self: OutputHead, x: torch.Tensor) -> torch.Tensor:
        asked.add(choose(x.float())[1])
        return forward(self, x)

    monkeypatch.setattr(OutputHead, "forward", recording)
    fit(recipe(images, epochs=3, precision="bfloat16", optimizer=optimizer), tmp_path / "run")
    assert float(rows(tmp_path / "run")[-1]["valid_nats"]) < float(rows(tmp_path / "run")[0]["valid_nats"])
    assert PixelRNN.from_pretrained(tmp_path / "run" / "model").first.weight.dtype == torch.float32
    assert asked == {torch.bfloat16}


def test_images_that_cannot_be_drawn_train_all_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((60, 2, 2, 2), np.uint8))
    two = DataConfig(source="array", path=str(tmp_path / "a.npy"))
    assert fit(recipe(two, epochs=1, sample_every=1), tmp_path / "run").channels == 2
    assert not (tmp_path / "run" / "samples").exists()


def test_a_folder_in_use_is_refused(tmp_path: Path, images: DataConfig) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"the run folder .* is not empty: choose another$"):
        fit(recipe(images), tmp_path)
    fit(recipe(images, epochs=1), tmp_path / "run")
    with pytest.raises(InputError, match=r"the run folder .* is not empty: choose another, or resume the run in it"):
        fit(recipe(images), tmp_path / "run")
    with pytest.raises(InputError, match=r"no run to resume in .*: checkpoints/last\.ckpt is missing"):
        fit(recipe(images), tmp_path, resume=True)


def test_a_run_that_failed_at_once_can_be_started_again(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(PixelRNN, "log_prob", lambda _, x, **given: torch.full((len(x),), torch.nan))
        with pytest.raises(InputError, match="the loss is nan at step 0"):
            fit(recipe(images), tmp_path / "run")
    assert (tmp_path / "run" / "config.yaml").is_file()
    (tmp_path / "run" / "checkpoints").mkdir()
    metrics = tmp_path / "run" / "metrics.csv"
    unsaved = ",".join(COLUMNS) + "\n" + ",".join(["1"] * len(COLUMNS)) + "\n"
    metrics.write_text(unsaved + unsaved)
    with pytest.raises(InputError, match="is not empty: choose another"):
        fit(recipe(images, epochs=1), tmp_path / "run")
    metrics.write_text(unsaved)  # writing its checkpoint failed
    fit(recipe(images, epochs=1), tmp_path / "run")
    assert len(rows(tmp_path / "run")) == 1
    (tmp_path / "run" / "checkpoints" / "last.ckpt").unlink()  # other files stay
    with pytest.raises(InputError, match="is not empty: choose another"):
        fit(recipe(images, epochs=1), tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("mine: {a: b}")
    with pytest.raises(InputError, match="is not empty: choose another"):
        fit(recipe(images, epochs=1), tmp_path / "other")


def test_why_a_training_ended_is_told_whatever_else_is_wrong(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    fit(recipe(images, epochs=1), run)

    def spoil(_: PixelRNN, x: torch.Tensor, **given: Any) -> torch.Tensor:
        (run / "checkpoints" / "best.ckpt").write_bytes(b"damaged")
        return torch.full((len(x),), torch.nan)

    monkeypatch.setattr(PixelRNN, "log_prob", spoil)
    with pytest.raises(InputError, match="the loss is nan"):
        fit(recipe(images, epochs=2), run, resume=True)


def digits(**model: Any) -> Recipe:
    options: dict[str, Any] = {"epochs": 1, "batch": 256, "learning_rate": 0.01, "sample_every": 1}
    return Recipe(model=ModelConfig(hidden=2, **model), train=TrainConfig(**options))


def test_a_class_conditional_model_trains_on_the_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    drawn: list[torch.Tensor] = []
    log_prob, sample = PixelRNN.log_prob, PixelRNN.sample

    def scoring(self: PixelRNN, x: torch.Tensor, *, labels: torch.Tensor, order: int) -> torch.Tensor:
        seen.append((x, labels))
        return log_prob(self, x, labels=labels)

    def drawing(self: PixelRNN, n: int, *, labels: torch.Tensor, **options: Any) -> torch.Tensor:
        drawn.append(labels)
        return sample(self, n, labels=labels, **options)

    monkeypatch.setattr(PixelRNN, "log_prob", scoring)
    monkeypatch.setattr(PixelRNN, "sample", drawing)
    model = fit(digits(labels=True), tmp_path / "run")
    assert model.classes == [*"0123456789"]
    data = load(DataConfig())
    known = [*data.train.batches(1), *data.valid.batches(1)]
    labels_of = {x.numpy().tobytes(): int(label) for x, label in known if label is not None}
    assert sum(len(x) for x, _ in seen) == len(known)
    for x, labels in seen:
        assert labels.tolist() == [labels_of[image[None].numpy().tobytes()] for image in x]
    assert drawn[0].tolist() == [*range(10), *range(6)]
    with Image.open(tmp_path / "run" / "samples" / "epoch-0001.png") as picture:
        assert picture.size == (10 * 37, 4 * (10 * 10 + LINE))  # with the classes below


def test_labels_that_are_not_there_are_missed(tmp_path: Path, images: DataConfig) -> None:
    with pytest.raises(InputError, match=r"model\.labels needs labels, but the images \(a\.npz, 4 levels\) have none"):
        fit(replace(recipe(images), model=ModelConfig(labels=True)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_scale_by_scale_is_as_good_as_jointly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trains one scale, then another from the first result. The other weights stay unchanged."""
    both = digits(factors=(2,))
    for scale, start in ((0, None), (1, str(tmp_path / "0"))):
        train = replace(both.train, scale=scale, start=start, epochs=2)
        fit(replace(both, train=train), tmp_path / str(scale))
    assert "bits/dim, scale 0 alone\n" in capsys.readouterr().out
    first, second = (MultiScalePixelRNN.from_pretrained(tmp_path / run / "model") for run in "01")
    for k, same in ((0, True), (1, False)):
        for before, after in zip(first.scales[k].parameters(), second.scales[k].parameters(), strict=True):
            assert torch.equal(before, after) == same
    valid = load(DataConfig()).valid.pixels
    trained, untrained = (-m.log_prob(valid).mean().item() for m in (second, MultiScalePixelRNN(**second.config)))
    assert trained < untrained
    terms = -second.log_prob_map_of_scale(valid, 1).sum(dim=(1, 2, 3)).mean().item()
    assert float(rows(tmp_path / "1")[-1]["valid_nats"]) == pytest.approx(terms, rel=1e-4)


def test_a_scale_that_is_not_there_is_refused(tmp_path: Path, images: DataConfig) -> None:
    plain, multi = recipe(images, scale=0), digits(factors=(2,))
    with pytest.raises(InputError, match=r"train\.scale needs model\.factors"):
        fit(plain, tmp_path / "run")
    with pytest.raises(InputError, match=r"train\.scale must be from 0 to 1, got 2"):
        fit(replace(multi, train=replace(multi.train, scale=2)), tmp_path / "run")


def test_training_starts_from_other_weights(tmp_path: Path, images: DataConfig) -> None:
    fit(recipe(images, epochs=1), tmp_path / "one")
    same = fit(recipe(images, epochs=1, learning_rate=1e-30, ema=0.0, start=str(tmp_path / "one")), tmp_path / "two")
    one = PixelRNN.from_pretrained(tmp_path / "one" / "model")
    for before, after in zip(one.parameters(), same.parameters(), strict=True):
        assert torch.equal(before, after)
    for model, difference in (
        (ModelConfig(hidden=3), "hidden 2, expected 3 like"),
        (ModelConfig(hidden=2, residual=False), "residual True, expected False like"),
    ):
        other = replace(recipe(images, start=str(tmp_path / "one")), model=model)
        with pytest.raises(InputError, match=f"train.start .*one has {difference}"):
            fit(other, tmp_path / "three")
    with pytest.raises(InputError, match="no model"):
        fit(recipe(images, start=str(tmp_path / "none")), tmp_path / "three")


@pytest.mark.parametrize("classes", [None, ["a", "b"]])
@pytest.mark.parametrize("options", [{}, {"layer": "pixel-cnn"}, {"layer": "row-lstm", "factors": (2,)}])
def test_a_deeper_model_of_several_orders_starts_from_a_smaller_one(
    tmp_path: Path, options: dict[str, Any], classes: list[str] | None
) -> None:
    def model_of(orders: int, depth: int = 3, **more: Any) -> ImageModel:
        kind: Any = MultiScalePixelRNN if "factors" in options else PixelRNN
        every = {"levels": 2, "hidden": 2, "depth": depth, "classes": classes, "orders": orders}
        model: ImageModel = kind(**options, **every, **more)
        return model

    raster, several = model_of(1, depth=1), model_of(8)
    raster.save_pretrained(tmp_path / "raster")
    _start_from(str(tmp_path / "raster"), several)
    x = torch.randint(2, (4, 1, 4, 3), dtype=torch.uint8)
    given = {"labels": torch.arange(4) % 2} if classes else {}
    for order in range(8):
        expected = raster.log_prob(turn(x, order), **given)
        torch.testing.assert_close(several.log_prob(x, order=order, **given), expected)
    with pytest.raises(InputError, match="raster has depth 1, expected 3 like"):
        _start_from(str(tmp_path / "raster"), model_of(1, residual=False))
    several.save_pretrained(tmp_path / "several")
    for other in (model_of(1), model_of(4)):
        with pytest.raises(InputError, match=f"several has orders 8, expected {other.orders} like the new model"):
            _start_from(str(tmp_path / "several"), other)
