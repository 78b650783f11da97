import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

import pixelrnn
from pixelrnn import InputError, MultiScalePixelRNN, PixelRNN
from pixelrnn.cli import main
from pixelrnn.data import Data, DataConfig, Images, load
from pixelrnn.errors import Stopped
from pixelrnn.training.fit import fit as with_recipe
from pixelrnn.training.module import LikelihoodTraining
from pixelrnn.training.recipe import recipe_named
from tests.training.runs import recipe, rows


def tensors(n: int = 40) -> Data:
    """Labelled images of 4×3 and 4 levels."""

    def split(n: int) -> Images:
        return Images(torch.randint(4, (n, 1, 4, 3), dtype=torch.uint8), labels=torch.arange(n) % 2)

    return Data(split(n), split(10), split(10), levels=4, classes=["a", "b"], protocol="noise")


def test_a_recipe_trains_as_with_the_command(tmp_path: Path, images: DataConfig) -> None:
    r = recipe(images, epochs=3)
    expected = with_recipe(r, tmp_path / "command")
    model = pixelrnn.fit(replace(r, train=replace(r.train, epochs=9)), run=tmp_path / "run", epochs=3)
    assert rows(tmp_path / "run") == rows(tmp_path / "command")
    for own, other in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(own, other)


def test_a_run_without_a_folder_leaves_no_files(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "work"))
    model = pixelrnn.fit(recipe(images), epochs=1)
    assert not model.training
    assert [*(tmp_path / "work").iterdir()] == []


@pytest.mark.parametrize("factors", [(), (2,)])
def test_a_model_keeps_its_weights_and_learns_from_tensors(tmp_path: Path, factors: tuple[int, ...]) -> None:
    options: dict[str, Any] = {"levels": 4, "hidden": 2, "size": (4, 3), "classes": ["a", "b"]}
    model = MultiScalePixelRNN(factors=factors, **options) if factors else PixelRNN(**options)
    before = [weight.detach().clone() for weight in model.parameters()]
    run, data = tmp_path / "run", tensors()
    assert pixelrnn.fit(model, data, run=run, epochs=1, learning_rate=1e-30, batch=20) is model
    for own, weight in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(own.detach(), weight)
    pixelrnn.fit(model, data, epochs=2, batch=20)
    assert any(not torch.equal(own, weight) for own, weight in zip(model.parameters(), before, strict=True))
    assert "data:" not in (run / "config.yaml").read_text()


def test_a_run_on_tensors_resumes_only_on_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(1)
    data, run = tensors(), tmp_path / "run"

    def model() -> PixelRNN:
        return PixelRNN(levels=4, hidden=2, size=(4, 3))

    pixelrnn.fit(model(), data, run=run, epochs=1)
    pixelrnn.fit(model(), data, run=run, epochs=2, resume=True)
    assert [row["epoch"] for row in rows(run)] == ["1", "2"]
    with pytest.raises(InputError, match=r"has train images 40 .*, got 41 .*: restore them"):
        pixelrnn.fit(model(), tensors(41), run=run, epochs=3, resume=True)
    capsys.readouterr()
    assert main(["evaluate", str(run)]) == 1
    assert "was trained on images given in Python: pass --data.source" in capsys.readouterr().err
    assert main(["train", "--resume", str(run), "--train.epochs", "9"]) == 1
    assert "were given in Python: resume it there, with pixelrnn.fit(" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"the model is missing: PixelRNN\.from_pretrained\(run\) loads"):
        LikelihoodTraining.load_from_checkpoint(run / "checkpoints" / "last.ckpt")


def test_a_folder_is_read_as_the_model_sees_it(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for n in range(30):
        pixels = np.random.default_rng(n).integers(0, 256, (9, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{n}.png")
    model = PixelRNN(channels=3, levels=4, hidden=3, size=(4, 4))
    pixelrnn.fit(model, tmp_path / "photos", run=tmp_path / "run", epochs=1)
    assert main(["evaluate", str(tmp_path / "run"), "--split", "test"]) == 0
    small = pixelrnn.fit("photos", DataConfig(source="folder", path=str(tmp_path / "photos"), size=(2, 2)), epochs=1)
    assert small.size == (2, 2)
    assert small.config["depth"] == 3  # as the recipe says


class Steps(pl.Callback):
    """Counts steps, and keeps the count in checkpoints."""

    def __init__(self) -> None:
        self.count, self.tensor = 0, torch.tensor(torch.inf)

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self.count += 1

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "tensor": self.tensor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


def test_callbacks_and_loggers_take_part(tmp_path: Path, images: DataConfig) -> None:
    run, r = tmp_path / "run", recipe(images, learning_rate=1e-30, ema=0.0)
    logger = CSVLogger(str(tmp_path / "csv"))
    stop = EarlyStopping("valid/nats", patience=1, min_delta=1.0)
    pixelrnn.fit(r, callbacks=[stop], logger=logger, run=run, epochs=9)
    assert len(rows(run)) == 2
    assert "valid/nats" in (Path(logger.log_dir) / "metrics.csv").read_text()
    assert "hidden: 2" in (Path(logger.log_dir) / "hparams.yaml").read_text()


def test_callbacks_resume_with_their_state(tmp_path: Path, images: DataConfig) -> None:
    run, steps = tmp_path / "run", Steps()
    pixelrnn.fit(recipe(images), run=run, epochs=1)
    pixelrnn.fit(recipe(images), run=run, epochs=2, resume=True, callbacks=[Steps()])
    pixelrnn.fit(recipe(images), run=run, epochs=3, resume=True, callbacks=[steps])
    assert steps.count == 10


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epoch": 3}, r"no option train\.epoch: did you mean train\.epochs\?"),
        ({"hidden": 3}, r"no option train\.hidden: did you mean model\.hidden\?"),
        ({"levels": 3}, r"no option train\.levels: did you mean data\.levels\?"),
        ({"name": 3}, r"no option train\.name(?!.*data\.name)"),  # a property of the configuration, but no option
        ({"frob": 3}, r"no option train\.frob, expected one of epochs, batch, "),
        ({"epochs": 0}, r"train\.epochs must be at least 1, got 0"),
        ({"logger": "tensorboard"}, "no logger 'tensorboard', expected .*; every run folder has .* TensorBoard"),
        ({"callbacks": [ModelCheckpoint()]}, "callbacks has a ModelCheckpoint, .*: omit it and pass run"),
        ({"resume": True}, "resume continues the run in a folder: pass run"),
        ({"data": "nowhere"}, r"data\.source digits takes no data\.path: omit it"),
        ({"data": tensors(), "recipe_or_model": PixelRNN(levels=4, size=(4, 4))}, r"have size \(4, 3\), expected"),
        ({"recipe_or_model": PixelRNN(levels=4)}, "data is missing: pass the images"),
        ({"recipe_or_model": "nothing"}, "no recipe 'nothing', expected a file or one of cifar10"),
        ({"recipe_or_model": "photo"}, "no recipe 'photo': did you mean photos or photos-256"),
        ({"recipe_or_model": "fotos"}, "no recipe 'fotos': did you mean photos"),
        ({"recipe_or_model": "mnist"}, r"no recipe 'mnist', but a source of images: pass data\.source mnist"),
    ],
)
def test_what_cannot_be_used_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pixelrnn.fit(**{"recipe_or_model": "digits"} | given)


def test_a_recipe_of_the_package_is_read_as_the_command_reads_it() -> None:
    read = recipe_named("mnist-multiscale")
    assert read.model.factors == (4,)
    assert read.data == DataConfig(source="binarized-mnist")
    assert load(recipe_named("digits").data).levels == 17


def test_an_unknown_section_of_a_recipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("optimizer: {lr: 1}")
    with pytest.raises(InputError, match=r"a\.yaml has a section optimizer, expected model, data and train"):
        recipe_named(str(tmp_path / "a.yaml"))


@pytest.mark.parametrize(
    ("first", "data", "message"),
    [
        (None, None, "the first argument is a NoneType, expected a recipe, its name or file, or a model"),
        (torch.nn.Linear(2, 2), None, "the first argument is a Linear, expected a recipe"),
        (
            "digits",
            torch.zeros(2, 1, 8, 8, dtype=torch.uint8),
            "data is a Tensor, expected a folder, a DataConfig or a",
        ),
        (Path("none.yaml"), None, "no recipe 'none.yaml'"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_arguments_of_other_types_are_refused(first: Any, data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pixelrnn.fit(first, data)


def test_a_stopped_training_without_a_folder_promises_nothing() -> None:
    class Stop(pl.Callback):
        def on_train_batch_start(self, *_: object) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped) as stopped:
        pixelrnn.fit("digits", callbacks=(each for each in [Stop()]))
    assert str(stopped.value) == "stopped by SIGINT"
