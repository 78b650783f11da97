import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytorch_lightning as pl
import torch
from pytorch_optimizer import SOAP
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from pixelrnn import InputError, MultiScalePixelRNN, PixelRNN
from pixelrnn.data import requantise
from pixelrnn.training.batches import Part
from pixelrnn.training.module import LikelihoodTraining, WeightEMA, seed_step
from pixelrnn.training.recipe import TrainConfig


def module(**options: Any) -> LikelihoodTraining:
    config = TrainConfig(**{"epochs": 1, "batch": 1} | options)
    return LikelihoodTraining(PixelRNN(levels=4, hidden=2), config, images=20)


def rates(**options: Any) -> list[float]:
    configured = module(**options).configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    values = []
    for _ in range(20):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def test_the_learning_rate_warms_up_and_falls_as_a_cosine() -> None:
    values = rates(learning_rate=0.5, warmup=4)
    assert values[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert values[12] == pytest.approx(0.25)
    assert values[19] == pytest.approx(0.25 * (1 + math.cos(math.pi * 15 / 16)))
    assert rates(learning_rate=0.5, schedule="constant", warmup=1) == pytest.approx([0.25] + [0.5] * 19)


def test_the_optimizers() -> None:
    assert isinstance(module(optimizer="adam").configure_optimizers()["optimizer"], torch.optim.Adam)
    assert isinstance(module(optimizer="rmsprop").configure_optimizers()["optimizer"], torch.optim.RMSprop)
    assert isinstance(module(optimizer="soap").configure_optimizers()["optimizer"], SOAP)


def test_a_step_of_a_training_has_noise_of_its_own() -> None:
    drawn = {}
    for seed, step in [(0, 0), (0, 1), (1, 0), (1, 1), (2**32 - 1, 10**6)]:
        seed_step(seed, step)
        drawn[seed, step] = torch.rand(3).tolist()
        seed_step(seed, step)
        assert torch.rand(3).tolist() == drawn[seed, step]
    assert len({tuple(numbers) for numbers in drawn.values()}) == 5


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    broken = module()
    for parameter in broken.model.parameters():
        torch.nn.init.constant_(parameter, math.nan)
    with pytest.raises(InputError, match=r"the loss is nan at step 0: lower train\.learning_rate or train\.clip"):
        broken.training_step(Part(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), None, first=0, total=1), 0)


@pytest.mark.parametrize("accumulate", [1, 2, 3, 5, 99])
def test_the_gradients_of_the_batches_of_a_step_are_those_of_all_its_images(
    accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = module(batch=3, accumulate=accumulate)  # seven batches, and the last one has two images
    monkeypatch.setattr(own, "_log", lambda *_: None)
    x = torch.randint(4, (20, 1, 3, 3), dtype=torch.uint8)
    batches = [Part(part, None, first=0, total=len(part)) for part in x.split(3)]
    for first in range(0, 7, accumulate):
        own.zero_grad()
        for n, batch in [*enumerate(batches)][first : first + accumulate]:
            (own.training_step(batch, n)["loss"] / accumulate).backward()  # as Lightning does
        summed = [weight.grad.clone() for weight in own.parameters() if weight.grad is not None]
        own.zero_grad()
        (-own.model.log_prob(x[3 * first : 3 * (first + accumulate)]).mean() / 9).backward()
        whole = [weight.grad for weight in own.parameters() if weight.grad is not None]
        for a, b in zip(summed, whole, strict=True):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_the_moving_average_forgets_the_beginning() -> None:
    average = WeightEMA(0.9)._kwargs["multi_avg_fn"]
    averages, weights = [torch.tensor(1.0), torch.zeros(2)], [torch.tensor(5.0), torch.tensor([1.0, 2.0])]
    for n in range(1, 30):
        decay = min(0.9, (1 + n) / (10 + n))
        expected = [decay * old + (1 - decay) * new for old, new in zip(averages, weights, strict=True)]
        average(averages, weights, torch.tensor(n))
        assert all(map(torch.allclose, averages, expected))
    assert averages[0].item() == pytest.approx(5, abs=0.2)


def trainer(path: Path, **options: Any) -> pl.Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(**quiet | {"default_root_dir": str(path), "accelerator": "cpu", "max_epochs": 2} | options)


def loader(*tensors: torch.Tensor) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*tensors), batch_size=4)


# Its advice on workers, validation and logging.
LIGHTNING = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning", "ignore:.*LeafSpec.* is deprecated"
)


@LIGHTNING
def test_floats_and_levels_with_or_without_labels_train_alike(tmp_path: Path) -> None:
    levels = torch.randint(256, (12, 1, 3, 3), dtype=torch.uint8)
    floats = levels.float() / 255
    trained = []
    for given in [(requantise(levels, 256, 4),), (floats,), (floats, torch.arange(12) % 2)]:
        torch.manual_seed(0)
        own = module()
        trainer(tmp_path, enable_checkpointing=False).fit(own, loader(*given), loader(*given))
        trained.append([weight.detach() for weight in own.parameters()])
    for weights in trained[1:]:
        assert all(map(torch.equal, trained[0], weights))


@LIGHTNING
def test_a_batch_may_be_a_bare_tensor_or_come_with_its_classes(tmp_path: Path) -> None:
    x, labels = torch.rand(8, 1, 3, 3), torch.arange(8) % 2
    own = LikelihoodTraining(PixelRNN(levels=4, hidden=2, classes=["a", "b"]))
    trainer(tmp_path, max_epochs=1, enable_checkpointing=False).fit(own, loader(x, labels))
    bare, both = own._part(x), own._part([x, labels])
    assert torch.equal(bare.pixels, both.pixels)
    assert both.labels is labels
    with pytest.raises(InputError, match="labels"):
        own.nats(bare)


@LIGHTNING
def test_the_schedule_spans_the_steps_of_the_trainer(tmp_path: Path) -> None:
    class Rates(pl.Callback):
        seen: ClassVar[list[float]] = []

        def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
            self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])

    x = torch.rand(24, 1, 3, 3)
    own = LikelihoodTraining(PixelRNN(levels=4, hidden=2), TrainConfig(epochs=99, learning_rate=0.5))
    how: dict[str, Any] = {"accumulate_grad_batches": 3, "callbacks": [Rates()], "enable_checkpointing": False}
    trainer(tmp_path, **how).fit(own, loader(x))
    expected = [0.25 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]  # six batches, two epochs
    assert Rates.seen[::3] == pytest.approx(expected)


@LIGHTNING
@pytest.mark.parametrize("factors", [None, (2,)])
def test_a_checkpoint_of_lightning_holds_all_that_it_takes(tmp_path: Path, factors: tuple[int, ...] | None) -> None:
    options: dict[str, Any] = {"levels": 4, "hidden": 2, "size": (3, 3)}
    model = MultiScalePixelRNN(factors=factors, **options) if factors else PixelRNN(**options)
    own = LikelihoodTraining(model, TrainConfig(optimizer="rmsprop", learning_rate=0.25))
    run = trainer(tmp_path, max_epochs=1, enable_checkpointing=False)
    run.fit(own, loader(torch.rand(8, 1, 3, 3)))
    run.save_checkpoint(tmp_path / "a.ckpt")
    loaded = LikelihoodTraining.load_from_checkpoint(tmp_path / "a.ckpt")
    assert loaded.config == own.config
    assert loaded.model.config == model.config
    x = torch.randint(4, (2, 1, 3, 3), dtype=torch.uint8)
    assert torch.equal(loaded.model.log_prob(x), model.log_prob(x))
    trainer(tmp_path, enable_checkpointing=False).fit(
        own, loader(torch.rand(8, 1, 3, 3)), ckpt_path=str(tmp_path / "a.ckpt")
    )
    assert own.hparams["model"]["config"]["hidden"] == 2  # loggers get it


def test_a_model_of_another_class_is_asked_for() -> None:
    class Mine(PixelRNN):
        pass

    kept = LikelihoodTraining(Mine(hidden=2)).hparams["model"]
    with pytest.raises(InputError, match="holds a Mine: pass it to load_from_checkpoint as model"):
        LikelihoodTraining(kept)


class Stream(IterableDataset[Tensor]):
    """Images without end."""

    def __iter__(self) -> Iterator[Tensor]:
        while True:
            yield torch.zeros(1, 3, 3, dtype=torch.uint8)


@pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning", "ignore:.*LeafSpec.* is deprecated"
)
def test_a_loader_without_a_length_trains(tmp_path: Path) -> None:
    how: dict[str, Any] = {"default_root_dir": tmp_path, "accelerator": "cpu", "logger": False}
    how |= {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    how["limit_val_batches"] = 1
    loader: DataLoader[Tensor] = DataLoader(Stream(), batch_size=2)
    model = PixelRNN(levels=4, hidden=2)
    pl.Trainer(max_steps=3, **how).fit(LikelihoodTraining(model), loader, loader)
    endless = pl.Trainer(max_epochs=-1, **how)
    with pytest.raises(InputError, match=r"train\.schedule cosine needs an end: pass max_steps"):
        endless.fit(LikelihoodTraining(model), loader, loader)
