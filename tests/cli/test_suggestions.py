"""Advice for options that a command does not have, and errors of the library in the words of the command line."""

from dataclasses import fields
from pathlib import Path

import pytest

from pixelrnn.cli.options import spelled
from pixelrnn.data import DataConfig
from tests.cli.checks import fails


@pytest.mark.parametrize(
    ("tokens", "meant"),
    [
        ("train --train.lr 1", "--train.learning-rate"),
        ("train --lr=1", "--train.learning-rate"),
        ("train --epochs 3", "--train.epochs"),
        ("train --train.epoch 3", "--train.epochs"),
        ("train --train.batch_size 3", "--train.batch"),
        ("train --train.levels 3", "--data.levels"),
        ("train --model.kind row-lstm", "--model.layer"),
        ("train --model.hiden 3", "--model.hidden"),
        ("train --device cuda", "--train.device"),
        ("train --early-stopping 3", "--train.patience"),
        ("sample mnist-class --num-samples 3", "--n"),
        ("sample mnist-class --tempreature 3", "--temperature"),
        ("sample mnist-class --gpu", "--device"),
        ("evaluate mnist-class --splits test", "--split"),
        ("train --runs here", "--run"),
    ],
)
def test_typos_and_names_of_other_programs(tokens: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    (given,) = [token for token in tokens.split() if token.startswith("--")]
    fails(capsys, tokens.split(), rf"Unknown option: {given}\. Did you mean {meant}\?", 2)


def test_what_no_option_resembles_gets_no_wrong_advice(capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, ["sample", "mnist-class", "--frob"], r"--frob\. `pixelrnn sample --help` lists all options\.", 2)
    fails(capsys, ["sample", "mnist-class", "--patience"], r"`pixelrnn sample --help` lists all options\.", 2)


def test_missing_and_superfluous_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("sample", "evaluate", "complete", "compress", "push"):
        fails(capsys, [command], r"MODEL is missing\. The model: a run folder, .*", 2)
    fails(capsys, ["push", "mnist-class"], r"NAME is missing\. `pixelrnn push --help` lists all options\.", 2)
    fails(capsys, ["demo", "a", "b"], r"unexpected argument b\. `pixelrnn demo --help` lists all options\.", 2)
    fails(capsys, ["train", "--run"], r"--run has no value\. `pixelrnn train --help` lists all options\.", 2)
    fails(capsys, ["compress", "mnist-class", "x.png"], r"--out has no value\. `pixelrnn compress --help` lists", 2)
    fails(capsys, ["data", "--data.size", "12"], r"--data\.size takes 2 values, got 1", 2)


@pytest.mark.parametrize("name", [field.name for field in fields(DataConfig)])
def test_names_of_the_configuration_become_options(name: str) -> None:
    option = "--data." + name.replace("_", "-")
    assert spelled(f"data.{name} is wrong: pass data.{name}.") == f"{option} is wrong: pass {option}."
    for other in (option, f"photos/data.{name}", f"data.{name}.npz", f"my-data.{name}", f"data.{name}s"):
        assert spelled(other) == other


def test_missing_images_and_models_name_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gone = ["--data.path", "gone"]
    fails(capsys, ["data", "--data", "folder"], r"--data\.source folder needs --data\.path")
    for command in (["train"], ["data"], ["evaluate", "mnist-class"], ["complete", "mnist-class"]):
        for source, what in (("folder", "folder"), ("array", "file"), ("mnist", "folder"), ("binarized-mnist", "file")):
            message = rf"the images are not in gone: pass their {what} as --data\.path"
            fails(capsys, [*command, "--data", source, *gone], message)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    fails(capsys, ["train", "--train.start", "gone"], r"--train\.start: no model 'gone', expected a folder")
    fails(
        capsys,
        ["train", "--data.levels", "2", "--train.start", "mnist-row"],
        r"--train\.start mnist-row has depth 8, expected 1 like the new model: pass --model\.depth 8",
    )
    Path("holiday").mkdir()
    fails(capsys, ["train", "holiday"], r"holiday is a folder, .* pass the recipe photos, and --data\.path holiday")
    path = r"unexpected argument holiday: pass {}--data\.path holiday"
    fails(capsys, ["train", "photos", "holiday"], path.format(""), 2)
    fails(capsys, ["data", "holiday"], path.format("--data folder "), 2)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday"]
