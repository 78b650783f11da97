import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pixelrnn import PixelRNN
from pixelrnn.cli import app, main
from pixelrnn.data import DataConfig, load
from pixelrnn.models import ImageModel
from pixelrnn.pictures import LINE
from tests.cli.checks import SHORT, TINY, fails

COMMANDS = [name for name in app if not name.startswith("-")]


def test_from_training_to_pictures(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "epochs: 1\n" in (run / "config.yaml").read_text()

    scores = tmp_path / "scores.csv"
    assert main(["evaluate", str(run), "--split", "valid", "--split", "test", "--per-image", str(scores)]) == 0
    lines = capsys.readouterr().out.splitlines()
    pattern = r"digits, 17 levels; .* \| (valid, 167|test, 180) images \| [\d.]+ nats/image \| [\d.]+ bits/dim"
    assert len(lines) == 3
    assert all(re.fullmatch(pattern, line) for line in lines[:2])
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
        assert picture.size == (10 * 19, 10 * 28)
    assert main(["sample", str(run / "model"), "--n", "1", "--height", "2", "--out", str(tmp_path / "t.png")]) == 0

    assert main(["complete", str(run), "--n", "3", "--keep-rows", "5", "--out", str(tmp_path / "c.png")]) == 0
    with Image.open(tmp_path / "c.png") as picture:
        margin = picture.width - 10 * (3 * 9 + 1)
        tops = 0, 100 + LINE, 2 * 90 + 10 + LINE  # the covered row has no captions
        original, covered, completed = (
            np.asarray(picture)[t + 15 : t + 95 : 10, margin + 15 :: 10][:, :8] for t in tops
        )
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


def test_several_completions_of_each_image(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "c.png")]
    assert main(["complete", str(run), "--n", "2", "--draws", "3", "--keep-rows", "2", *out]) == 0
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.height == 4 * (100 + LINE) + 90  # original, covered and three completions
    with np.load(tmp_path / "c.npz") as arrays:
        original, draws = arrays["original"], arrays["completed"].reshape(3, 2, 8, 8)
    assert (draws[:, :, :2] == original[:, :2]).all()
    assert len({draw.tobytes() for draw in draws[:, 0]}) == 3
    fails(capsys, ["complete", str(run), "--draws", "0"], "--draws must be at least 1, got 0")


def test_several_completions_keep_the_class_of_each_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = list[list[int]]()

    def complete(model: ImageModel, x: Tensor, known: Tensor, *, labels: Tensor, **_: object) -> Tensor:
        given.append(labels.tolist())
        return x

    monkeypatch.setattr(ImageModel, "complete", complete)
    for name in ("1/a.png", "8/b.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("L", (28, 28)).save(tmp_path / name)
    out = ["--out", str(tmp_path / "c.png")]
    assert main(["complete", "mnist-class", "--images", str(tmp_path), "--draws", "2", *out]) == 0
    assert given == [[1, 8, 1, 8]]


def test_covers(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def known(*cover: str) -> object:
        assert main(["complete", str(run), "--n", "2", "--overwrite", "--out", str(tmp_path / "c.png"), *cover]) == 0
        with np.load(tmp_path / "c.npz") as arrays:
            return arrays["known"].tolist()

    box = np.ones((8, 8), bool)
    box[1:4, 2:8] = False
    assert known("--box", "1", "2", "3", "6") == box.tolist()
    Image.fromarray(np.where(box, 0, 255).astype(np.uint8)).save(tmp_path / "mask.png")
    assert known("--mask", str(tmp_path / "mask.png")) == box.tolist()
    fails(
        capsys,
        ["complete", str(run), "--box", "0", "0", "9", "1"],
        "--box 0 0 9 1 does not fit, expected a box within 8×8",
    )
    Image.new("L", (7, 8)).save(tmp_path / "other.png")
    fails(capsys, ["complete", str(run), "--mask", str(tmp_path / "other.png")], "is 8×7, expected 8×8")
    fails(capsys, ["complete", str(run), "--keep-rows", "1", "--box", "0", "0", "1", "1"], "cannot be combined")
    for name in ("s.npz", "s.NPZ", "s.jpg"):
        fails(capsys, ["sample", str(run), "--out", name], rf"--out expects .* \.png, got {name}")


def test_nothing_of_anybodys_is_overwritten(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.npz").write_text("mine")
    for name in ("notes.png", "metrics.csv", "shift.svg"):
        Path(name).write_text("mine")
    beside = ["--n", "1", "--out", "notes.PNG"]  # the .npz lies beside it
    for command, existing in (
        (["sample", str(run), "--out", "notes.png"], "notes.png"),
        (["sample", str(run), *beside], "notes.npz"),
        (["complete", str(run), *beside], "notes.npz"),
        (["data", "--out", "notes.png"], "notes.png"),
        (["bench", "--out", "notes.png"], "notes.png"),
        (["evaluate", str(run), "--per-image", "metrics.csv"], "metrics.csv"),
        (["explain", "shift", "--out", ".", "--format", "svg"], "shift.svg"),
    ):
        option = "--per-image" if "--per-image" in command else "--out"
        fails(capsys, command, f"{existing} exists: choose another {option}, or pass --overwrite to replace it")
        assert Path(existing).read_text() == "mine"
    assert main(["data", "--out", "notes.png", "--overwrite"]) == 0
    assert main(["evaluate", str(run), "--per-image", "metrics.csv", "--overwrite"]) == 0
    assert Path("metrics.csv").read_text().startswith("split,image,nats")
    Path("text.txt").write_text("mine")
    for command in (["bench"], ["data"], ["sample", str(run)]):
        fails(capsys, [*command, "--out", "text.txt"], r"--out expects a name that ends in \.png, got text\.txt")
    np.savez("data.npz", images=np.zeros((9, 8, 8), np.uint8))
    Image.new("L", (8, 8), 255).save("mask.png")
    Path("photos").mkdir()
    Image.new("L", (8, 8)).save("photos/a.png")
    read = ["--data.source", "folder", "--data.path", "photos"]
    for options, name, out in (
        (["--mask", "mask.png"], "--mask", "mask.png"),
        (["--images", "mask.png"], "--images", "mask.png"),
        (["--images", "photos"], "--images", "photos/a.png"),
        (read, "--data.path", "photos/a.png"),
    ):
        fails(
            capsys,
            ["complete", str(run), *options, "--out", out, "--overwrite"],
            f"{out} would be overwritten, but {name} reads it",
        )
    fails(capsys, ["data", *read, "--out", "photos/a.png"], "a.png would be overwritten, but --data.path reads it")
    fails(capsys, ["data", *read, "--out", "data.npz"], r"--out expects a name that ends in \.png, got data\.npz")
    fails(capsys, ["evaluate", str(run), *read, "--per-image", "notes.png"], r"--per-image expects .* \.csv, got")
    assert main(["sample", str(run), "--n", "1", "--out", "s.png"]) == 0
    assert main(["sample", str(run), "--n", "40", "--out", "s.png", "--overwrite"]) == 0
    Path("blob").write_bytes(Path("s.npz").read_bytes())
    Path("link.npz").symlink_to("blob")  # as tools make them that store data elsewhere
    assert main(["sample", str(run), "--n", "3", "--out", "link.png", "--overwrite"]) == 0
    with np.load("blob") as arrays:
        assert len(arrays["images"]) == 3
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    capsys.readouterr()
    reading = ["--data.source", "array", "--data.path", "s.npz", "--data.key", "images", "--data.array-levels", "17"]
    assert main(["evaluate", str(run), "--split", "train", *reading]) == 0
    fails(
        capsys,
        ["complete", str(run), *reading, "--out", "s.png"],
        r"s\.npz would be overwritten, but --data\.path reads it",
    )


def test_empty_options_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for tokens, name in (
        (["train", "--run", ""], "--run"),
        (["train", "--resume", " "], "--resume"),
        (["train", "--data", "folder", "--data.path", ""], r"--data\.path"),
        (["sample", str(run), "--out", ""], "--out"),
        (["complete", str(run), "--mask", ""], "--mask"),
        (["evaluate", str(run), "--images", ""], "--images"),
        (["sample", ""], "--model"),
    ):
        fails(capsys, tokens, f"{name} is empty, expected a value")
    assert not list(tmp_path.iterdir())
    Path("recipe.yaml").write_text("data: {source: folder, path: ''}")
    fails(capsys, ["train", "recipe.yaml"], "recipe.yaml is not a recipe, .* options that are text")


def test_a_run_is_not_in_its_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos/deep").mkdir(parents=True)
    Path("link").symlink_to("photos")
    for n in range(30):
        Image.new("L", (8, 8), n).save(f"photos/deep/{n}.png")
    for data, path in (
        ("photos", "photos/run"),
        ("photos", "photos"),
        ("link", "photos/run"),
        ("photos", "link/a/run"),
    ):
        tokens = ["train", "--run", path, "--data", "folder", "--data.path", data, *TINY]
        fails(capsys, tokens, f"the run folder {path} would add its samples to --data.path {data}: choose another")
    assert sorted(path.name for path in Path("photos").iterdir()) == ["deep"]
    assert main(["train", "--run", "run", "--data", "folder", "--data.path", "photos", *TINY]) == 0
    Path("run").rename("photos/run")
    fails(capsys, ["train", "--resume", "photos/run"], "photos/run would add its samples to --data.path .*: move it")


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

    picture = ["--overwrite", "--out", str(tmp_path / "s.png")]
    completions = ["--overwrite", "--out", str(tmp_path / "c.png")]
    monkeypatch.setattr(PixelRNN, "complete", recording)
    assert main(["sample", own, "--n", "6", "--label", "7", "--label", "3", *picture]) == 0
    assert given.pop() == [7, 3, 7, 3, 7, 3]
    with Image.open(tmp_path / "s.png") as grid:
        assert grid.size == (10 * 19, 3 * (100 + LINE))  # one column per class, and its name below
    assert main(["sample", own, "--n", "20", *picture]) == 0
    with Image.open(tmp_path / "s.png") as grid:
        assert grid.size == (10 * 91, 2 * (100 + LINE))
    assert given.pop() == [*range(10)] * 2
    assert main(["sample", own, "--n", "4", "--label", "7", *picture]) == 0
    with Image.open(tmp_path / "s.png") as grid:
        assert grid.size == (10 * 19, 2 * (100 + LINE))  # one class needs no columns
    given.clear()
    for split in ("valid", "test"):
        assert main(["complete", own, "--split", split, "--n", "3", *completions]) == 0
        labels = load(DataConfig()).splits[split].labels
        assert labels is not None
        assert given.pop() == labels[[0, len(labels) // 3, 2 * len(labels) // 3]].tolist()
    assert main(["complete", own, "--n", "2", "--label", "4", *completions]) == 0
    assert given.pop() == [4, 4]
    capsys.readouterr()

    for folder, name in (("7", "a.png"), ("3", "b.png"), (".", "c.png")):
        (tmp_path / "images" / folder).mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 99).save(tmp_path / "images" / folder / name)
    fails(
        capsys,
        ["evaluate", own, "--images", str(tmp_path / "images")],
        "labels are missing, expected one of 10 classes",
    )
    loose = ["complete", own, "--images", str(tmp_path / "images" / "c.png"), *completions]
    fails(capsys, loose, "the images have no labels: pass --label, one of 0, 1, 2")
    assert main([*loose, "--label", "5"]) == 0
    capsys.readouterr()
    (tmp_path / "images" / "c.png").unlink()
    assert main(["evaluate", own, "--images", str(tmp_path / "images"), "--classify"]) == 0
    assert "all, 2 images" in capsys.readouterr().out

    fails(capsys, ["sample", own, "--label", "ten"], "no class 'ten', expected one of 0, 1, 2")
    fails(capsys, ["sample", str(run), "--label", "1"], "not conditional on a class: omit --label")
    fails(capsys, ["evaluate", str(run), "--classify"], "cannot classify: the model is not conditional on a class")


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
        capsys, ["train", "--run", str(tmp_path / "x"), "--model.factors", "1"], "factors must be from 2 to 64, got 1"
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
    # The model of the digits converts them to grey, its size and its levels.
    scores = tmp_path / "scores.csv"
    assert main(["evaluate", str(run), "--images", str(photos), "--per-image", str(scores)]) == 0
    line = capsys.readouterr().out.splitlines()[-2]
    assert line.startswith("photos, 17 levels (v·17 // 256); scaled to 8×8; converted to grey | all, 20 images | ")
    with scores.open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == [f"{n:02}.png" for n in range(20)]
    fails(capsys, ["evaluate", str(run), *folder, "--data.mode", "grey"], r"have size \(6, 5\), expected \(8, 8\) like")


def test_seeds_temperatures_and_the_data_of_a_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def picture(*tokens: str) -> bytes:
        assert main([*tokens, "--out", str(tmp_path / "p.png"), "--overwrite"]) == 0
        return (tmp_path / "p.png").read_bytes()

    draw = ("sample", str(run), "--n", "4")
    assert picture(*draw, "--seed", "1") == picture(*draw, "--seed", "1") != picture(*draw, "--seed", "2")
    assert picture(*draw, "--temperature", "1e-6") == picture(*draw, "--temperature", "1e-6", "--seed", "2")
    finish = ("complete", str(run), "--n", "4")
    assert picture(*finish, "--seed", "1") == picture(*finish, "--seed", "1") != picture(*finish, "--seed", "2")
    assert picture(*finish, "--temperature", "1e-6") == picture(*finish, "--temperature", "1e-6", "--seed", "2")

    # The command requantises images: white stays white.
    Image.new("L", (8, 8), 255).save(tmp_path / "white.png")
    picture("complete", str(run), "--images", str(tmp_path / "white.png"))
    with Image.open(tmp_path / "p.png") as shown:
        assert (np.asarray(shown)[10:90, -90:-10] == 255).all()

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
        r"model is not a run folder: pass --data\.source",
    )


def test_a_model_that_comes_with_the_package(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = ["--model", "mnist-class", "--label", "3", "--n", "1"]
    assert main(["sample", *named, "--out", str(tmp_path / "s.png")]) == 0
    with np.load(tmp_path / "s.npz") as arrays:
        assert arrays["images"].shape == (1, 28, 28)
    capsys.readouterr()
    # The recipe of the run says which images to use, unless the command line does.
    monkeypatch.setenv("PIXELRNN_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte").touch()
    fails(
        capsys, ["evaluate", "mnist-class"], f"no train-images-idx3-ubyte.* in {tmp_path / 'mnist'}, expected the IDX"
    )
    fails(
        capsys,
        ["evaluate", "mnist-class", "--data", "digits", "--data.levels", "2"],
        r"size \(8, 8\), expected \(28, 28\) like",
    )


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        assert f"Example: pixelrnn {command}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_described_in_whole_sentences(command: str) -> None:
    for argument in app[command].assemble_argument_collection(parse_docstring=True):
        if argument.parse and argument.show and not argument.children:
            described = argument.parameter.help or ""
            assert re.fullmatch(r"(?!(Of|That|What|Which|Its) )[A-Z].*\.", described, re.DOTALL), argument.names[0]
