import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pixelrnn import PixelRNN
from pixelrnn.cli import main
from pixelrnn.data import DataConfig, load

SHORT = ["--train.batch", "256", "--train.sample-every", "0", "--train.epochs"]
TINY = ["--model.hidden", "2", *SHORT, "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the digits, too short to be any good."""
    path = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "digits", "--run", str(path), *TINY]) == 0
    return path


def test_from_training_to_pictures(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "epochs: 1\n" in (run / "config.yaml").read_text()

    scores = tmp_path / "scores.csv"
    assert main(["evaluate", str(run), "--split", "valid", "--split", "test", "--per-image", str(scores)]) == 0
    lines = capsys.readouterr().out.splitlines()
    pattern = r"digits, 17 levels; .* \| (valid, 167|test, 180) images \| [\d.]+ nats/image \| [\d.]+ bits/dim"
    assert len(lines) == 2
    assert all(re.fullmatch(pattern, line) for line in lines)
    with scores.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["valid"] * 167 + ["test"] * 180
    mean = np.mean([float(row["nats"]) for row in rows[:167]])
    assert f"{mean:.3f} nats" in lines[0]

    assert main(["sample", str(run), "--n", "5", "--out", str(tmp_path / "s.png")]) == 0
    assert capsys.readouterr().out == f"samples: {tmp_path / 's.png'}, {tmp_path / 's.npz'}\n"
    with np.load(tmp_path / "s.npz") as arrays:
        assert arrays["images"].shape == (5, 8, 8)
        assert arrays["images"].max() < 17
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.size == (8 * 19, 8 * 28)
    assert main(["sample", str(run / "model"), "--n", "1", "--height", "2", "--out", str(tmp_path / "t.png")]) == 0

    assert main(["complete", str(run), "--n", "3", "--keep-rows", "5", "--out", str(tmp_path / "c.png")]) == 0
    with Image.open(tmp_path / "c.png") as picture:
        pixels = np.asarray(picture)[4::8, 4::8]  # one value per pixel of the grid
    original, covered, completed = (pixels[1 + 9 * k : 9 + 9 * k, 1:9] for k in range(3))
    assert (covered[5:] == 128).all()
    assert (covered[:5] == original[:5]).all()
    assert (completed[:5] == original[:5]).all()
    assert not (completed[5:] == original[5:]).all()
    with np.load(tmp_path / "c.npz") as arrays:
        assert set(arrays) == {"original", "known", "completed", "levels"}
        assert arrays["levels"] == 17
        assert (arrays["known"] == (np.arange(8) < 5)[:, None]).all()
        kept = np.broadcast_to(arrays["known"], (3, 8, 8))
        assert (arrays["completed"] == arrays["original"])[kept].all()
        assert not (arrays["completed"] == arrays["original"]).all()


def test_covers(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def known(*cover: str) -> object:
        assert main(["complete", str(run), "--n", "2", "--out", str(tmp_path / "c.png"), *cover]) == 0
        with np.load(tmp_path / "c.npz") as arrays:
            return arrays["known"].tolist()

    box = np.ones((8, 8), bool)
    box[1:4, 2:8] = False
    assert known("--box", "1", "2", "3", "6") == box.tolist()
    Image.fromarray(np.where(box, 0, 255).astype(np.uint8)).save(tmp_path / "mask.png")
    assert known("--mask", str(tmp_path / "mask.png")) == box.tolist()
    fails(capsys, ["complete", str(run), "--box", "0", "0", "9", "1"], "--box 0 0 9 1 is not in the images")
    Image.new("L", (7, 8)).save(tmp_path / "other.png")
    fails(capsys, ["complete", str(run), "--mask", str(tmp_path / "other.png")], "is 8×7, expected 8×8")
    fails(capsys, ["complete", str(run), "--keep-rows", "1", "--box", "0", "0", "1", "1"], "expected one of")
    for name in ("s.npz", "s.NPZ", "s.jpg"):
        fails(capsys, ["sample", str(run), "--out", name], rf"--out names a PNG.* got {name}")


def test_nothing_of_anybodys_is_overwritten(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", images=np.zeros((9, 8, 8), np.uint8))
    Path("text.npz").write_text("mine")
    before = Path("data.npz").read_bytes()
    for name in ("data", "text"):
        for command in ("sample", "complete"):
            fails(capsys, [command, str(run), "--n", "1", "--out", f"{name}.png"], f"{name}.npz holds something else")
    assert Path("data.npz").read_bytes() == before
    Image.new("L", (8, 8), 255).save("mask.png")
    fails(capsys, ["complete", str(run), "--mask", "mask.png", "--out", "mask.png"], "--out is what --mask reads")
    fails(capsys, ["complete", str(run), "--images", "mask.png", "--out", "mask.png"], "--out is what --images reads")
    assert main(["sample", str(run), "--n", "1", "--out", "s.png"]) == 0
    assert main(["sample", str(run), "--n", "40", "--out", "s.png"]) == 0  # our own may be
    Path("blob").write_bytes(Path("s.npz").read_bytes())
    Path("link.npz").symlink_to("blob")  # as tools that keep data elsewhere make them
    assert main(["sample", str(run), "--n", "3", "--out", "link.png"]) == 0
    with np.load("blob") as arrays:
        assert len(arrays["images"]) == 3
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    capsys.readouterr()
    reading = ["--data.source", "array", "--data.path", "s.npz", "--data.key", "images", "--data.array-levels", "17"]
    assert main(["evaluate", str(run), "--split", "train", *reading]) == 0


def test_classes(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = str(tmp_path / "own")
    given: list[list[int]] = []
    complete = PixelRNN.complete

    def recording(self: PixelRNN, *images: torch.Tensor, labels: torch.Tensor, **options: Any) -> torch.Tensor:
        given.append(labels.tolist())
        return complete(self, *images, labels=labels, **options)

    assert main(["train", "digits", "--run", own, *TINY, "--model.labels"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"run folder: {own}"

    assert main(["evaluate", own, "--split", "test", "--classify"]) == 0
    _, classified = capsys.readouterr().out.splitlines()
    assert re.search(r"\| test, 180 images \| [\d.]+ % likeliest under their own class$", classified)

    picture, completions = ["--out", str(tmp_path / "s.png")], ["--out", str(tmp_path / "c.png")]
    monkeypatch.setattr(PixelRNN, "complete", recording)
    assert main(["sample", own, "--n", "6", "--label", "7", "--label", "3", *picture]) == 0
    assert given.pop() == [7, 3, 7, 3, 7, 3]
    with Image.open(tmp_path / "s.png") as grid:
        assert grid.size == (8 * 19, 8 * 28)  # a column for each
    assert main(["sample", own, "--n", "20", *picture]) == 0
    with Image.open(tmp_path / "s.png") as grid:
        assert grid.size == (8 * 91, 8 * 19)
    assert given.pop() == [*range(10)] * 2
    assert main(["sample", own, "--n", "4", "--label", "7", *picture]) == 0
    with Image.open(tmp_path / "s.png") as grid:
        assert grid.size == (8 * 19, 8 * 19)  # one class needs no columns
    given.clear()
    assert main(["complete", own, "--n", "3", *completions]) == 0
    labels = load(DataConfig()).valid.labels
    assert labels is not None
    assert given.pop() == labels[:3].tolist()
    assert main(["complete", own, "--n", "2", "--label", "4", *completions]) == 0
    assert given.pop() == [4, 4]
    capsys.readouterr()

    for folder, name in (("7", "a.png"), ("3", "b.png"), (".", "c.png")):
        (tmp_path / "images" / folder).mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 99).save(tmp_path / "images" / folder / name)
    fails(capsys, ["evaluate", own, "--images", str(tmp_path / "images")], "expected a label of 10 per image")
    loose = ["complete", own, "--images", str(tmp_path / "images" / "c.png"), *completions]
    fails(capsys, loose, "the images have no labels: give --label, of 0, 1, 2")
    assert main([*loose, "--label", "5"]) == 0
    capsys.readouterr()
    (tmp_path / "images" / "c.png").unlink()
    assert main(["evaluate", own, "--images", str(tmp_path / "images"), "--classify"]) == 0
    assert "all, 2 images" in capsys.readouterr().out

    fails(capsys, ["sample", own, "--label", "ten"], "no class 'ten': the model has 0, 1, 2")
    fails(capsys, ["sample", str(run), "--label", "1"], "not conditional on a class: --label says nothing to it")
    fails(capsys, ["evaluate", str(run), "--classify"], "nothing to classify: the model is not conditional on a class")


def test_multi_scale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = str(tmp_path / "own")
    assert main(["train", "digits", "--run", own, *TINY, "--model.factors", "2", "2"]) == 0
    assert "factors:\n  - 2\n  - 2\n" in (tmp_path / "own" / "config.yaml").read_text()
    capsys.readouterr()
    assert main(["evaluate", own, "--split", "test"]) == 0
    assert "test, 180 images" in capsys.readouterr().out
    assert main(["sample", own, "--n", "4", "--height", "7", "--out", str(tmp_path / "s.png")]) == 0
    with np.load(tmp_path / "s.npz") as arrays:
        assert arrays["images"].shape == (4, 7, 8)
    assert main(["complete", own, "--n", "2", "--out", str(tmp_path / "c.png")]) == 0
    with np.load(tmp_path / "c.npz") as arrays:
        known = np.broadcast_to(arrays["known"], (2, 8, 8))
        assert (arrays["completed"] == arrays["original"])[known].all()
    fails(
        capsys, ["train", "--run", str(tmp_path / "x"), "--model.factors", "1"], "factors must be whole numbers from 2"
    )


def test_images_of_ones_own(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for n in range(20):
        noise = np.random.default_rng(n).integers(0, 256, (6, 5, 3), np.uint8)
        Image.fromarray(noise).save(photos / f"{n:02}.png")
    folder = ["--data.source", "folder", "--data.path", str(photos)]
    assert main(["data", *folder, "--out", str(tmp_path / "look.png")]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == [
        "photos, 256 levels; test: 3 of 20 drawn with seed 0; valid: 4 of 17 drawn with seed 0",
        "6×5, 3 channels, 256 levels",
        "train 13, valid 4, test 3 images",
    ]
    own = tmp_path / "own"
    assert main(["train", "--run", str(own), *folder, "--data.levels", "8", *SHORT, "1", "--model.hidden", "3"]) == 0
    assert PixelRNN.from_pretrained(own / "model").config["size"] == (6, 5)
    assert main(["sample", str(own), "--n", "2", "--out", str(tmp_path / "s.png")]) == 0
    assert main(["complete", str(own), "--images", str(photos / "03.png"), "--out", str(tmp_path / "c.png")]) == 0
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.mode == "RGB"
    # The digits' model on them: made grey, of its size and levels.
    scores = tmp_path / "scores.csv"
    assert main(["evaluate", str(run), "--images", str(photos), "--per-image", str(scores)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("photos, 17 levels (v·17 // 256), scaled to 8×8, converted to grey | all, 20 images | ")
    with scores.open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == [f"{n:02}.png" for n in range(20)]
    fails(
        capsys, ["evaluate", str(run), *folder, "--data.mode", "grey"], r"the model's size: \(8, 8\), but .* \(6, 5\)"
    )


def test_seeds_temperatures_and_the_data_of_a_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def picture(*tokens: str) -> bytes:
        assert main([*tokens, "--out", str(tmp_path / "p.png")]) == 0
        return (tmp_path / "p.png").read_bytes()

    draw = ("sample", str(run), "--n", "4")
    assert picture(*draw, "--seed", "1") == picture(*draw, "--seed", "1") != picture(*draw, "--seed", "2")
    assert picture(*draw, "--temperature", "1e-6") == picture(*draw, "--temperature", "1e-6", "--seed", "2")
    finish = ("complete", str(run), "--n", "4")
    assert picture(*finish, "--seed", "1") == picture(*finish, "--seed", "1") != picture(*finish, "--seed", "2")
    assert picture(*finish, "--temperature", "1e-6") == picture(*finish, "--temperature", "1e-6", "--seed", "2")

    # Own images are requantised: white stays white.
    Image.new("L", (8, 8), 255).save(tmp_path / "white.png")
    picture("complete", str(run), "--images", str(tmp_path / "white.png"))
    with Image.open(tmp_path / "p.png") as shown:
        assert (np.asarray(shown)[8:72, 8:72] == 255).all()

    own = tmp_path / "own"
    assert (
        main(["train", "--run", str(own), "--data.levels", "5", "--data.seed", "7", "--data.test", "0.2", *TINY]) == 0
    )
    capsys.readouterr()
    assert main(["evaluate", str(own), "--split", "test"]) == 0
    assert re.match(r"digits, 5 levels \(v·5 // 17\); test: \d+ of 1797 drawn with seed 7; ", capsys.readouterr().out)
    fails(
        capsys,
        ["evaluate", str(own / "model")],
        r"model is no run folder, which would say what images: give --data\.source",
    )


def fails(capsys: pytest.CaptureFixture[str], tokens: Sequence[str], message: str, status: int = 1) -> None:
    """Asserts that a command ends with a status and one line on standard error, and nothing else."""
    capsys.readouterr()
    assert main(tokens) == status
    output = capsys.readouterr()
    assert output.out == ""
    assert re.fullmatch(rf"pixelrnn: .*{message}.*\n", output.err), output.err


def test_bad_images(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def complete(path: Path, message: str) -> None:
        fails(capsys, ["complete", str(run), "--images", str(path)], message)

    complete(tmp_path / "missing.png", r"no folder or file .*missing\.png")
    complete(tmp_path, "no images in")  # an empty folder
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:500])
    complete(tmp_path / "cut.png", r"cut\.png cannot be read: image file is truncated")
    (tmp_path / "text.png").write_text("text")
    complete(tmp_path / "text.png", r"text\.png is no image")
    (tmp_path / "sizes").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "sizes" / "a.png")
    Image.new("L", (8, 9)).save(tmp_path / "sizes" / "b.png")
    folder = ["--data.source", "folder", "--data.path"]
    fails(capsys, ["data", *folder, str(tmp_path / "sizes")], r"b\.png is 9×8 grey, expected 8×8 grey as a\.png is")
    (tmp_path / "modes").mkdir()
    Image.new("RGBA", (8, 8)).save(tmp_path / "modes" / "a.png")
    fails(
        capsys,
        ["data", *folder, str(tmp_path / "modes")],
        r"a\.png has mode RGBA, expected grey \(L\) or RGB: give mode",
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
    fails(capsys, sample, r"weights that are not finite numbers, in first\.bias")
    save_file(weights, model / "model.safetensors")
    (model / "config.json").write_text(json.dumps(config | {"hidden": 5}))
    fails(capsys, sample, "belongs to another configuration")
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
        ("model: [", r"recipe\.yaml is not YAML: while parsing", 1),
        ("just text", r"recipe\.yaml is no recipe: expected the sections", 1),
        ("model: 3", "expected the sections", 1),
        ("1: 2", "expected the sections", 1),
        ("model: {1: 2}", "expected the sections", 1),
        ("train: {epochs: 1.5}", "--train.epochs must be a whole number below 10¹⁰, got 1.5", 1),
        ("train: {seed: -1}", r"train\.seed must be from 0 to 4294967295, got -1", 1),
    ):
        recipe.write_text(text)
        fails(capsys, ["train", str(recipe), "--run", str(tmp_path / "run")], message, status)
    fails(capsys, ["train", "digit"], r"no recipe 'digit': neither a file nor one of .*digits")
    fails(
        capsys, ["train", "--model.hiden", "3"], r"Unknown option: --model\.hiden\. Did you mean --model\.hidden\?", 2
    )
    assert not (tmp_path / "run").exists()


def test_bad_run_folders(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no folder")
    fails(capsys, ["train", "--run", str(tmp_path / "file" / "run"), *TINY], "Not a directory: .*file")
    fails(capsys, ["train", "--run", str(tmp_path / "file"), *TINY], "the run folder .*file is a file")
    fails(capsys, ["train", "--run", str(run), *TINY], "is not empty: choose another, or resume the run in it")
    fails(capsys, ["train", "--resume", str(tmp_path)], r"nothing to resume in .*: no config\.yaml")
    fails(capsys, ["train", "--resume", str(run), "--run", str(run)], "give neither RECIPE nor --run")
    fails(capsys, ["train", "digits", "--resume", str(run)], "give neither RECIPE nor --run")
    fails(
        capsys, ["train", "--resume", str(run), "--data.seed", "1"], r"has data\.seed 0, not 1: it resumes with its own"
    )
    fails(capsys, ["sample", str(run), "--out", str(tmp_path / "file" / "s.png")], "File exists: .*file")


def test_bad_options(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, ["sample", str(run), "--n", "0"], "n must be a whole number of at least 1, got 0")
    fails(capsys, ["sample", str(run), "--height", "0"], "height must be a whole number of at least 1")
    fails(capsys, ["sample", str(run), "--temperature", "0"], r"temperature must be a finite number above 0, got 0\.0")
    fails(capsys, ["complete", str(run), "--keep-rows", "9"], "--keep-rows must be from 0 to 8")
    fails(capsys, ["sample", str(run), "--n", "1.5"], r"--n must be a whole number below 10¹⁰, got 1\.5")
    fails(capsys, ["sample", str(run), "--seed", "-1"], "--seed must be from 0 to 4294967295, got -1")
    fails(capsys, ["sample", str(run), "--out", str(run)], "digits is a folder, expected a file to write")
    fails(capsys, ["data", "--data.seed", str(2**32)], r"data\.seed must be from 0 to 4294967295")
    fails(capsys, ["data", "--data.seed", str(2**70)], r"--data\.seed must be a whole number below 10¹⁰")
    fails(capsys, ["data", "--data.size", "6", "6.5"], r"--data\.size must be a whole number below 10¹⁰, got 6\.5")
    fails(capsys, ["sample", str(run), "--height", "9000000000"], "there is not enough memory")
    fails(capsys, ["evaluate", str(run), "--images", "a.png", "--split", "test"], "--split says nothing about them")
    fails(
        capsys, ["complete", str(run), "--images", "a.png", "--data.seed", "1"], r"--data\.seed says nothing about them"
    )
    fails(capsys, ["sample", str(run) + "s"], r"no model in .*digitss: config\.json is missing")
    fails(capsys, ["complete", str(run), "--n", "0"], "--n must be at least 1, got 0")
    fails(capsys, ["evaluate", str(run), "--batch", "0"], "--batch must be at least 1, got 0")
    fails(capsys, ["evaluate", str(run), "--split", "tset"], r'Invalid value .*tset.* Did you mean "test"\?', 2)
    fails(capsys, ["evaluate", str(run), "--data.levels", "4"], r"the model's levels: 17, but the images .* have 4")
    if not torch.cuda.is_available():
        fails(capsys, ["sample", str(run), "--device", "cuda"], "device cuda cannot be used here: PyTorch finds no GPU")
        fails(
            capsys,
            ["train", "--train.device", "cuda", "--run", str(run / "new"), *TINY],
            "device cuda cannot be used here: PyTorch finds no GPU",
        )


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("train", "evaluate", "sample", "complete", "data"):
        assert main([command, "--help"]) == 0
        assert f"Example: pixelrnn {command}" in " ".join(capsys.readouterr().out.split())


def test_a_signal_is_no_damage_of_the_file_that_is_being_read(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    tokens = ["complete", str(run), "--images", str(tmp_path / "a.png"), "--out", str(tmp_path / "b.png")]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    try:
        for signum, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            monkeypatch.setattr("PIL.Image.open", lambda _, signum=signum: signal.raise_signal(signum))
            fails(capsys, tokens, f"stopped by {signum.name}", status)
    finally:
        signal.signal(signal.SIGINT, before)


def test_sigterm_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.Image.Image.save", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert main(["data", "--out", str(tmp_path / "a.png")]) == 143
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before


def spawn(*tokens: str, before: str = "") -> subprocess.Popen[str]:
    code = f"import sys\n{before}\nfrom pixelrnn.cli import main\nsys.exit(main({list(tokens)!r}))"
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )


@pytest.mark.slow  # two processes that import Lightning: what a signal does to a process cannot be seen from within
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_and_stop(tmp_path: Path, signum: signal.Signals, status: int) -> None:
    run = tmp_path / "run"
    process = spawn("train", "--run", str(run), "--model.hidden", "2", *SHORT, "1000")
    while not (run / "metrics.csv").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert errors.splitlines()[-1] == f"pixelrnn: stopped by {signum.name}; the run was saved and can be resumed"
    assert "Traceback" not in errors
    assert PixelRNN.from_pretrained(run / "model").levels == 17
    epochs = (run / "metrics.csv").read_text().count("\n") - 1
    assert main(["train", "--resume", str(run), "--train.epochs", str(epochs + 1)]) == 0
    assert (run / "metrics.csv").read_text().count("\n") - 1 == epochs + 1


@pytest.mark.slow  # a process of its own, which alone may have a quota
def test_a_full_disk_leaves_earlier_checkpoints_whole(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="no quotas on this system")
    own = tmp_path / "run"
    assert main(["train", "--run", str(own), *TINY]) == 0
    before = {p: p.read_bytes() for p in own.rglob("*") if p.suffix in (".ckpt", ".json", ".safetensors")}
    quota = (own / "checkpoints" / "last.ckpt").stat().st_size // 2
    process = spawn(
        *("train", "--resume", str(own), "--train.epochs", "2"),
        before=f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({quota}, {quota}))",
    )
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == f"pixelrnn: File too large: {own / 'checkpoints' / 'last.ckpt'}"
    assert "Traceback" not in errors
    assert {p: p.read_bytes() for p in before} == before
    assert not list(own.rglob(".*"))
    assert main(["train", "--resume", str(own), "--train.epochs", "2"]) == 0
