"""The code of docs/your-own-training-loop.md."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

from tests.training.runs import rows

pytestmark = [
    pytest.mark.slow,  # trainings on the digits
    pytest.mark.filterwarnings(
        "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning", "ignore:.*LeafSpec.* is deprecated"
    ),
]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert {path.name for path in tmp_path.iterdir()} <= {"runs", "digits.ckpt", "logs"}


def test_one_call() -> None:
    # docs: begin fit
    import pixelrnn

    model = pixelrnn.fit("digits", run="runs/digits", epochs=2)
    images = model.sample(4, seed=0)  # uint8 (4, 1, 8, 8), levels 0 to 16
    # docs: end fit
    assert images.shape == (4, 1, 8, 8)
    assert len(rows(Path("runs/digits"))) == 2


def test_tensors() -> None:
    # docs: begin tensors
    import torch

    import pixelrnn
    from pixelrnn.data import Data, Images

    x = torch.randint(4, (240, 1, 8, 8), dtype=torch.uint8)  # your images: levels 0 to 3
    train, valid, test = (Images(part) for part in x.split([160, 40, 40]))
    data = Data(train, valid, test, levels=4, classes=None, protocol="240 images of my own")
    model = pixelrnn.PixelRNN(levels=4, hidden=8, size=(8, 8))
    pixelrnn.fit(model, data, epochs=2, batch=16)
    # docs: end tensors
    assert -model.log_prob(x[200:]).mean() < 110


def test_a_plain_loop() -> None:
    # docs: begin plain
    import torch

    from pixelrnn import PixelRNN
    from pixelrnn.data import DataConfig, load

    data = load(DataConfig(source="digits"))
    model = PixelRNN(levels=data.levels, hidden=16, size=data.size)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    x = data.train.pixels  # uint8 (N, C, H, W)
    accumulate = 2  # a step for every two batches
    for epoch in range(2):
        model.train()
        for n, indices in enumerate(torch.randperm(len(x)).split(32), start=1):
            loss = -model.log_prob(x[indices]).mean() / data.train.dimensions  # nats per dimension
            (loss / accumulate).backward()
            if n % accumulate == 0:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
        model.eval()
        with torch.no_grad():
            nats = -model.log_prob(data.valid.pixels).mean()
        print(f"epoch {epoch + 1}: {nats:.2f} nats/image")
    model.save_pretrained("runs/plain")
    # docs: end plain
    assert nats < 120


def test_lightning() -> None:
    images = torch.rand(64, 1, 8, 8)
    dataset = torch.utils.data.TensorDataset(images, torch.arange(64) % 10)
    train_loader = valid_loader = torch.utils.data.DataLoader(dataset, batch_size=16)
    # docs: begin lightning
    import pytorch_lightning as pl

    from pixelrnn import PixelRNN
    from pixelrnn.training.module import LikelihoodTraining
    from pixelrnn.training.recipe import TrainConfig

    model = PixelRNN(levels=8, hidden=16, size=(8, 8))
    module = LikelihoodTraining(model, TrainConfig(optimizer="adam", learning_rate=2e-3))
    stop = pl.callbacks.EarlyStopping("valid/nats", patience=3)
    trainer = pl.Trainer(
        max_epochs=2,
        gradient_clip_val=1.0,
        accumulate_grad_batches=2,
        callbacks=[stop],
        default_root_dir="logs",
    )
    trainer.fit(module, train_loader, valid_loader)  # loaders of (image, label)
    trainer.save_checkpoint("digits.ckpt")

    loaded = LikelihoodTraining.load_from_checkpoint("digits.ckpt")
    samples = loaded.model.eval().sample(4)
    # docs: end lightning
    assert samples.shape == (4, 1, 8, 8)
    assert loaded.config == module.config


def test_levels() -> None:
    # docs: begin levels
    import torch

    from pixelrnn.data import to_levels

    floats = torch.rand(4, 3, 32, 32)  # as torchvision's ToTensor gives them: 0 to 1
    levels = to_levels(floats, 8)  # uint8 (4, 3, 32, 32), levels 0 to 7
    # docs: end levels
    assert levels.max() == 7


def test_a_service_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    def wandb(**how: Any) -> CSVLogger:
        made.append(how)
        return CSVLogger("logs")

    monkeypatch.setattr("pytorch_lightning.loggers.WandbLogger", wandb)
    # docs: begin wandb
    import pixelrnn

    pixelrnn.fit("digits", logger="wandb", run="runs/first", epochs=2)
    # docs: end wandb
    assert made == [{"save_dir": "runs/first/logs", "project": "pixelrnn", "name": "first"}]
    assert "valid/nats" in next(Path("logs").rglob("metrics.csv")).read_text()


def test_early_stopping_and_accumulation() -> None:
    # docs: begin stopping
    import pytorch_lightning as pl

    import pixelrnn

    stop = pl.callbacks.EarlyStopping("valid/bits_per_dim", patience=2, min_delta=0.5)
    model = pixelrnn.fit("digits", callbacks=[stop], run="runs/stopped", accumulate=4, batch=64, epochs=20)
    # docs: end stopping
    assert model.levels == 17
    assert len(rows(Path("runs/stopped"))) < 20


def test_a_sweep() -> None:
    # docs: begin sweep
    import itertools

    import torch

    import pixelrnn
    from pixelrnn.data import load
    from pixelrnn.training.recipe import ModelConfig, Recipe, TrainConfig

    nats = {}
    for hidden, rate in itertools.product((8, 16), (2e-3, 1e-2)):
        train = TrainConfig(epochs=1, learning_rate=rate, sample_every=0)
        recipe = Recipe(model=ModelConfig(hidden=hidden), train=train)
        model = pixelrnn.fit(recipe, run=f"runs/h{hidden}-{rate}")
        with torch.no_grad():
            nats[hidden, rate] = -model.log_prob(load(recipe.data).valid.pixels).mean().item()
    print("best (hidden, learning rate):", min(nats, key=lambda key: nats[key]))
    # docs: end sweep
    assert len(nats) == 4
    assert min(float(row["valid_nats"]) for row in rows(Path("runs/h8-0.01"))) == pytest.approx(nats[8, 1e-2], rel=1e-5)
