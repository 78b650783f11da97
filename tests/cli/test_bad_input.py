import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pixelrnn import PixelRNN
from tests.cli.checks import TINY, fails


def test_bad_images(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def complete(path: Path, message: str) -> None:
        fails(capsys, ["complete", str(run), "--images", str(path)], message)

    complete(tmp_path / "missing.png", r"missing\.png is not an existing folder or file")
    complete(tmp_path, "no images in")  # an empty folder
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:500])
    complete(tmp_path / "cut.png", r"cut\.png cannot be read: image file is truncated")
    (tmp_path / "text.png").write_text("text")
    complete(tmp_path / "text.png", r"text\.png is not an image file")
    (tmp_path / "sizes").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "sizes" / "a.png")
    Image.new("L", (8, 9)).save(tmp_path / "sizes" / "b.png")
    folder = ["--data.source", "folder", "--data.path"]
    fails(
        capsys,
        ["data", *folder, str(tmp_path / "sizes")],
        r"b\.png is 9×8 grey, expected 8×8 grey like a\.png: pass size",
    )
    (tmp_path / "modes").mkdir()
    Image.new("RGBA", (8, 8)).save(tmp_path / "modes" / "a.png")
    fails(
        capsys,
        ["data", *folder, str(tmp_path / "modes")],
        r"a\.png has mode RGBA, expected opaque grey \(L\) or RGB: pass mode",
    )
    np.save(tmp_path / "high.npy", np.full((20, 8, 8), 17, np.uint8))
    array = ["--data.source", "array", "--data.path", str(tmp_path / "high.npy"), "--data.array-levels", "17"]
    fails(capsys, ["evaluate", str(run), *array], r"high\.npy has a level 17, expected 0 to 16")


def test_bad_models(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model"
    PixelRNN.from_pretrained(run / "model").save_pretrained(model)
    weights, config = load_file(model / "model.safetensors"), json.loads((model / "config.json").read_text())
    sample = ["sample", str(model), "--out", str(tmp_path / "s.png")]

    save_file(weights | {"first.bias": torch.full_like(weights["first.bias"], torch.nan)}, model / "model.safetensors")
    fails(capsys, sample, r"the weights first\.bias have NaN or infinite values")
    save_file(weights, model / "model.safetensors")
    (model / "config.json").write_text(json.dumps(config | {"hidden": 5}))
    fails(capsys, sample, r"it describes more weights than model\.safetensors has")
    (model / "config.json").write_text("{")
    fails(capsys, sample, r"config\.json is not the configuration of a PixelRNN")
    (model / "config.json").write_text(json.dumps(config))
    (model / "model.safetensors").write_bytes(b"damaged")
    fails(capsys, sample, r"model\.safetensors is damaged")
    assert not (tmp_path / "s.png").exists()


def test_bad_recipes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    for text, message, status in (
        (
            "model: {hiden: 3}",
            r'Unknown option: "\[model\]\[hiden\]" from .*recipe\.yaml\. Did you mean --model\.hidden\?',
            2,
        ),
        ("modle: {hidden: 3}", r"Unknown option: .*modle.* Did you mean --model\.hidden\?", 2),
        ("model: {layer: row-lst}", r'Invalid value "row-lst" for .* Did you mean "row-lstm"\?', 2),
        ("train: {epochs: many}", r'unable to convert "many" into int', 2),
        ("train: {epochs: 0}", r"train\.epochs must be at least 1, got 0", 1),
        ("model: [", r"recipe\.yaml is not valid YAML: while parsing", 1),
        ("train: {warmup: !!int ''}", r"recipe\.yaml is not valid YAML: a recipe cannot use aliases or tags", 1),
        ("train: {ema: !!timestamp soon}", r"recipe\.yaml is not valid YAML", 1),
        ("just text", r"recipe\.yaml is not a recipe, expected the sections", 1),
        ("model: 3", "expected the sections", 1),
        ("1: 2", "expected the sections", 1),
        ("model: {1: 2}", "expected the sections", 1),
        ("train: {epochs: 1.5}", "--train.epochs must be a whole number below 10¹⁰, got 1.5", 1),
        ("train: {seed: -1}", r"train\.seed must be from 0 to 4294967295, got -1", 1),
    ):
        recipe.write_text(text)
        fails(capsys, ["train", str(recipe), "--run", str(tmp_path / "run")], message, status)
    fails(
        capsys,
        ["train", "digit"],
        r"no recipe 'digit': did you mean digits or digits-multiscale\? `pixelrnn recipes` lists all",
    )
    fails(capsys, ["train", "nothing"], r"no recipe 'nothing', expected a file or one of .*digits")
    fails(
        capsys, ["train", "--model.hiden", "3"], r"Unknown option: --model\.hiden\. Did you mean --model\.hidden\?", 2
    )
    assert not (tmp_path / "run").exists()


def test_bad_run_folders(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no folder")
    fails(capsys, ["train", "--run", str(tmp_path / "file" / "run"), *TINY], "Not a directory: .*file")
    fails(capsys, ["train", "--run", str(tmp_path / "file"), *TINY], "Not a directory: .*file")
    way = f"there is a run in {run}: choose another --run, or continue it with --resume {run}"
    fails(capsys, ["train", "--run", str(run), *TINY], re.escape(way))
    rate = ["train", "--resume", str(run), "--train.learning-rate", "0.5"]
    fails(
        capsys, rate, rf"its own recipe; .* start a new run from its weights with --train\.start {re.escape(str(run))}"
    )
    fails(capsys, ["train", "--resume", str(tmp_path)], r"no run to resume in .*: config\.yaml is missing")
    fails(capsys, ["train", "--resume", str(run), "--run", str(run)], "pass neither RECIPE nor --run")
    fails(capsys, ["train", "digits", "--resume", str(run)], "pass neither RECIPE nor --run")
    fails(
        capsys,
        ["train", "--resume", str(run), "--data.seed", "1"],
        r"has --data\.seed 0, got 1: it resumes with its own recipe; to change it, choose another run folder",
    )
    fails(capsys, ["sample", str(run), "--out", str(tmp_path / "file" / "s.png")], "File exists: .*file")


def test_bad_options(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, ["sample", str(run), "--n", "0"], "--n must be at least 1, got 0")
    fails(capsys, ["sample", str(run), "--height", "0"], "height must be at least 1, got 0")
    fails(capsys, ["sample", str(run), "--temperature", "0"], r"temperature must be above 0 and below inf, got 0\.0")
    fails(capsys, ["complete", str(run), "--keep-rows", "9"], "--keep-rows must be from 0 to 8")
    fails(capsys, ["sample", str(run), "--n", "1.5"], r"--n must be a whole number below 10¹⁰, got 1\.5")
    fails(capsys, ["sample", str(run), "--seed", "-1"], "--seed must be from 0 to 4294967295, got -1")
    fails(capsys, ["sample", str(run), "--out", str(run)], "digits is a folder, expected a file to write")
    fails(
        capsys,
        ["data", "--data", "mnist", "--data.source", "mnist"],
        "--data is short for --data.source: pass only one",
    )
    fails(capsys, ["data", "--data.seed", str(2**32)], r"data\.seed must be from 0 to 4294967295")
    fails(capsys, ["data", "--data.seed", str(2**70)], r"--data\.seed must be a whole number below 10¹⁰")
    fails(capsys, ["data", "--data.size", "6", "6.5"], r"--data\.size must be a whole number below 10¹⁰, got 6\.5")
    fails(capsys, ["sample", str(run), "--height", "9000000000"], "there is not enough memory")
    huge = ["--height", "9999999999", "--width", "9999999999"]
    fails(capsys, ["sample", str(run), *huge], "a number is too large")
    fails(
        capsys,
        ["evaluate", str(run), "--images", "a.png", "--split", "test"],
        "--images cannot be combined with --split",
    )
    fails(
        capsys,
        ["complete", str(run), "--images", "a.png", "--data.seed", "1"],
        r"--images cannot be combined with --data\.seed",
    )
    fails(capsys, ["sample", str(run) + "s"], r"no model in .*digitss: config\.json is missing")
    fails(capsys, ["complete", str(run), "--n", "0"], "--n must be at least 1, got 0")
    fails(capsys, ["evaluate", str(run), "--batch", "0"], "--batch must be at least 1, got 0")
    fails(capsys, ["evaluate", str(run), "--split", "tset"], r'Invalid value .*tset.* Did you mean "test"\?', 2)
    fails(
        capsys, ["evaluate", str(run), "--data.levels", "4"], r"the images .* have levels 4, expected 17 like the model"
    )
    if not torch.cuda.is_available():
        fails(capsys, ["sample", str(run), "--device", "cuda"], "device cuda is not available, PyTorch finds no GPU")
        fails(
            capsys,
            ["train", "--train.device", "cuda", "--run", str(run / "new"), *TINY],
            "device cuda is not available, PyTorch finds no GPU",
        )
