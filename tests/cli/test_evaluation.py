import csv
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pixelrnn import PixelRNN
from pixelrnn.cli import main
from pixelrnn.cli.outputs import write_scores
from pixelrnn.data import Images
from pixelrnn.pictures import LINE, Row
from pixelrnn.training.evaluation import Score
from tests.cli.checks import fails


def test_the_bits_of_each_pixel_are_drawn_and_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    (photos / "a").mkdir(parents=True)
    for name in ("a/one.png", "two.png"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)).save(photos / name)
    scores, maps = tmp_path / "scores.csv", tmp_path / "maps"
    command = ["evaluate", str(run), "--images", str(photos)]
    assert main([*command, "--per-image", str(scores), "--per-pixel", str(maps)]) == 0
    with scores.open() as file:
        nats = {row["image"]: float(row["nats"]) for row in csv.DictReader(file)}
    (arrays,) = maps.glob("*.npz")
    written = np.load(arrays)
    assert written["bits"].shape == (2, 1, 8, 8)
    for name, bits in zip(written["names"], written["bits"], strict=True):
        assert bits.sum() * math.log(2) == pytest.approx(nats[name], rel=1e-5)
        with Image.open(maps / arrays.stem / f"{name}.png") as drawn:
            assert drawn.width > 100
    fails(capsys, [*command, "--per-pixel", str(maps)], "is not empty: choose another --per-pixel")
    fails(capsys, [*command, "--per-pixel", str(scores)], "is a file, expected a new or empty folder as --per-pixel")


def test_a_failure_leaves_no_folder(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pixelrnn.figures.save", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
        fails(capsys, ["evaluate", str(run), "--per-pixel", str(tmp_path / "maps")], "the disk is full")
    assert not [*tmp_path.iterdir()]


def test_a_mixture_has_no_bits_of_pixels(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mixture = ["--order", "mixture", "--per-pixel", str(tmp_path / "maps")]
    fails(capsys, ["evaluate", str(run), *mixture], "pass --per-pixel or --order mixture")


def read(scores: Path) -> list[dict[str, str]]:
    with scores.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [*csv.DictReader(file)]


def test_scores_are_compared_with_those_of_validation_images(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = tmp_path / "every.csv"
    assert main(["evaluate", str(run), "--split", "valid", "--split", "test", "--per-image", str(every)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"scores: {every}, {tmp_path / 'every.png'}; percentiles among 167 validation images"
    rows = read(every)
    usual = [row for row in rows if row["split"] == "valid"]
    assert len(usual) == 167
    for score, place in (("nats", "percentile"), ("excess_bits", "excess_percentile")):
        known = np.array([float(row[score]) for row in usual])
        for row in rows:
            own = float(row[score])
            expected = 50 * ((known < own).mean() + (known <= own).mean())
            assert float(row[place]) == pytest.approx(expected, abs=0.01)
    assert all(
        float(row["two_sided"]) == pytest.approx(abs(2 * float(row["percentile"]) - 100), abs=0.02) for row in rows
    )
    with Image.open(tmp_path / "every.png") as sheet:
        assert sheet.height == 4 * (10 * 10 + 3 * LINE)  # two splits, each with its least and its most likely images


def test_scores_of_other_images_are_compared_with_the_images_of_the_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photos" / "\udcffé.png")
    scores = tmp_path / "scores.csv"
    evaluate = ["evaluate", str(run), "--images", str(tmp_path / "photos"), "--per-image"]
    assert main([*evaluate, str(scores)]) == 0
    assert capsys.readouterr().out.endswith("; percentiles among 167 validation images\n")
    (row,) = read(scores)
    assert row["image"] == "\udcffé.png"
    assert 50 < float(row["percentile"]) <= 100
    for name in ("inside.csv", "deep/inside.csv"):
        fails(capsys, [*evaluate, str(tmp_path / "photos" / name)], "would add its picture to --images .*: choose")
    assert len([*(tmp_path / "photos").iterdir()]) == 1
    # Without the validation images of the run, there are no percentiles, and one line says why.
    alone = tmp_path / "alone"
    shutil.copytree(run / "model", alone)
    assert main(["evaluate", str(alone), *evaluate[2:], str(tmp_path / "alone.csv")]) == 0
    assert "percentiles" not in capsys.readouterr().out
    assert caplog.messages[-1] == f"no percentiles: {alone} is not a run folder, which would name its validation images"
    (row,) = read(tmp_path / "alone.csv")
    assert row["nats"]
    assert row["excess_bits"]
    assert (row["percentile"], row["two_sided"], row["excess_percentile"]) == ("", "", "")


def test_the_least_and_the_most_likely_images_are_drawn(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Row] = []
    monkeypatch.setattr("pixelrnn.pictures.save_rows", lambda path, rows: drawn.extend(rows))
    assert main(["evaluate", str(run), "--per-image", str(tmp_path / "scores.csv")]) == 0
    rows = read(tmp_path / "scores.csv")
    nats = sorted((float(row["nats"]), row["image"], row["percentile"]) for row in rows)
    for shown, wanted, what in zip(drawn, (nats[::-1][:8], nats[:8]), ("least", "most"), strict=True):
        assert shown.name == f"valid:\n{what} likely\nof 167"
        assert shown.images.shape == (8, 1, 8, 8)
        assert shown.captions == [f"{name}\n{own:.1f} nats\n{float(place):.1f} %" for own, name, place in wanted]


def test_large_images_are_drawn_smaller(tmp_path: Path) -> None:
    score = Score("", "valid", ["a", "b"], torch.tensor([1.0, 2.0]), 600 * 300)
    images = Images(torch.full((2, 1, 600, 300), 7, dtype=torch.uint8))
    write_scores(tmp_path / "a.csv", [score], {"valid": images}, None, 256)
    with Image.open(tmp_path / "a.png") as sheet:
        grey = np.asarray(sheet)
    assert 0 <= (grey == 7).sum() - 2 * 256 * 128 < 100  # the edges of letters are grey too


def test_images_that_no_file_can_hold_are_scored_without_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    black = np.zeros((3, 4, 5, 2), np.uint8)
    np.savez(tmp_path / "a.npz", train=black, valid=black, test=black)
    PixelRNN(channels=2, levels=256, hidden=2).save_pretrained(tmp_path / "model")
    array = ["--data", "array", "--data.path", str(tmp_path / "a.npz"), "--per-image", str(tmp_path / "a.csv")]
    assert main(["evaluate", str(tmp_path / "model"), *array]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"scores: {tmp_path / 'a.csv'}; percentiles among 3")
    assert not (tmp_path / "a.png").exists()
