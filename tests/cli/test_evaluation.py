import csv
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelrnn.cli import main
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
