import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixelrnn import PixelRNN
from pixelrnn.cli import main
from tests.cli.checks import fails

pytest.importorskip("constriction", reason="the extra compress is not installed")


def folder_of(path: Path, sizes: dict[str, tuple[int, int]], *, levels: int = 256) -> Path:
    rng = np.random.default_rng(0)
    for name, size in sizes.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        values = rng.integers(0, levels, size, np.uint8).astype(float) * (255 / (levels - 1))
        Image.fromarray(values.round().astype(np.uint8)).save(path / name)
    return path


def pixels(path: Path) -> dict[str, list[list[int]]]:
    return {str(f.relative_to(path)): np.asarray(Image.open(f)).tolist() for f in path.rglob("*") if f.is_file()}


def model_at(path: Path, **options: Any) -> str:
    PixelRNN(**{"levels": 256, "hidden": 3, **options}).save_pretrained(path)
    return str(path)


SIZES = {"a.png": (5, 4), "b/c.png": (5, 4), "b/d.bmp": (1, 1), "e.png": (70, 3)}


def test_images_keep_their_names_and_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, model = folder_of(tmp_path / "photos", SIZES), model_at(tmp_path / "model")
    out = tmp_path / "out.pxr"
    assert main(["compress", model, str(photos), "--out", str(out), "--report"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{out}: 4 images, {out.stat().st_size:,} bytes"
    assert [re.split(r" {2,}", line)[0] for line in lines[1:4]] == [
        "pixelrnn, one file",
        "PNG, a file each",
        "WebP lossless, a file each",
    ]
    assert lines[-1].startswith("xz of all raw pixels")
    assert main(["decompress", str(out), "--out", str(tmp_path / "again")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'again'}: 4 images\n"
    expected = {f"{name}.png" if name.endswith("bmp") else name: rows for name, rows in pixels(photos).items()}
    assert pixels(tmp_path / "again") == expected


def test_few_levels_and_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = model_at(tmp_path / "model", levels=3, classes=["cat", "dog"])
    photos = folder_of(tmp_path / "photos", {"cat/a.png": (4, 4), "dog/b.png": (3, 4)}, levels=3)
    assert main(["compress", model, str(photos), "--out", str(tmp_path / "out.pxr")]) == 0
    (tmp_path / "model").rename(tmp_path / "moved")
    fails(
        capsys,
        ["decompress", str(tmp_path / "out.pxr"), "--out", str(tmp_path / "again")],
        "which is not here: pass --model",
    )
    there = ["--model", str(tmp_path / "moved"), "--out", str(tmp_path / "again")]
    assert main(["decompress", str(tmp_path / "out.pxr"), *there]) == 0
    assert pixels(tmp_path / "again") == pixels(photos)


def test_what_cannot_be_compressed_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, out = folder_of(tmp_path / "photos", {"a.png": (4, 4)}), str(tmp_path / "out.pxr")
    rgb, few = model_at(tmp_path / "rgb", channels=3), model_at(tmp_path / "few", levels=4)
    classes = model_at(tmp_path / "classes", classes=["cat", "dog"])
    fails(capsys, ["compress", rgb, str(photos), "--out", out], r"a\.png is grey, expected RGB like the model")
    fails(capsys, ["compress", few, str(photos), "--out", out], r"a\.png has intensities between the 4 levels")
    fails(capsys, ["compress", classes, str(photos), "--out", out], "put each into a folder named cat, dog")
    fails(capsys, ["compress", rgb, "--out", out], "no images to compress")
    fails(capsys, ["compress", rgb, str(photos), "--out", "out.zip"], r"--out expects a name that ends in \.pxr")
    twice = [str(photos), str(photos / "a.png")]
    fails(capsys, ["compress", rgb, *twice, "--out", out], r"have the same name, a\.png")
    assert not (tmp_path / "out.pxr").exists()


def test_a_damaged_file_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, model = folder_of(tmp_path / "photos", SIZES), model_at(tmp_path / "model")
    out, again = tmp_path / "out.pxr", tmp_path / "again"
    assert main(["compress", model, str(photos), "--out", str(out)]) == 0
    whole = out.read_bytes()
    out.write_bytes(whole[:-1])
    fails(capsys, ["decompress", str(out), "--out", str(again)], r"out\.pxr is cut off")
    middle = len(whole) // 2
    out.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    fails(capsys, ["decompress", str(out), "--out", str(again)], r"the chunk of the images \d to \d is damaged")
    assert not again.exists()
    assert main(["decompress", str(out), "--out", str(again), "--keep-going"]) == 0
    expected = {f"{name}.png" if name.endswith("bmp") else name: rows for name, rows in pixels(photos).items()}
    kept = pixels(again)
    assert 0 < len(kept) < 4
    assert all(expected[name] == rows for name, rows in kept.items())
    fails(capsys, ["decompress", str(out), "--out", str(again)], "again is not empty")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["/tmp/a.png", "../a.png", "a/../../b.png", "..", "", "a\0b", "..\\a.png"])
def test_names_that_lead_out_of_the_folder_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    import torch

    from pixelrnn import coding

    path = model_at(tmp_path / "model")
    with (tmp_path / "out.pxr").open("wb") as file:
        image = torch.zeros(1, 2, 2, dtype=torch.uint8)
        coding.write(file, PixelRNN.from_pretrained(path), [image], names=[name], model_name=path)
    fails(
        capsys,
        ["decompress", str(tmp_path / "out.pxr"), "--out", str(tmp_path / "again")],
        "which leads out of a folder: rename it",
    )
    assert not (tmp_path / "again").exists()


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], message: str, **options: Any) -> None:
    model, out = model_at(tmp_path / "model", **options), tmp_path / "out.pxr"
    fails(capsys, ["compress", model, str(tmp_path / "photos"), "--out", str(out)], message)
    assert not out.exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.bmp", "a.bmp.png"], r"two images would become a\.bmp\.png again"),
        (["a.bmp", "a.bmp.png/b.png"], r"two images would become a\.bmp\.png again"),
        (["a\\b.png"], "which leads out of a folder: rename it"),
        ([f"{'x' * 248}.bmp"], "too long with .png"),
    ],
)
def test_images_that_would_not_come_back_under_their_names_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str], message: str
) -> None:
    folder_of(tmp_path / "photos", dict.fromkeys(names, (2, 2)))
    refused(tmp_path, capsys, message)


def test_images_that_would_lose_something_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    grey = Image.fromarray(np.zeros((2, 3), np.uint8))
    files: dict[str, tuple[str, bytes | None]] = {
        "a.tif": ("several pictures", None),
        "b.png": ("transparent pixels", None),
        "c.pgm": ("intensities from 0 to another number", b"P5 2 1 100 " + bytes([1, 100])),
        "d.ppm": ("intensities from 0 to another number", b"P6 1 1 65535 " + bytes(6)),
    }
    for name, (message, content) in files.items():
        if content is not None:
            (photos / name).write_bytes(content)
        elif name == "a.tif":
            grey.save(photos / name, save_all=True, append_images=[grey])
        else:
            grey.save(photos / name, transparency=0)
        refused(tmp_path, capsys, message, channels=3 if name == "d.ppm" else 1)
        (photos / name).unlink()


def test_the_output_folder_must_be_new_or_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, model = folder_of(tmp_path / "photos", {"a.png": (2, 2)}), model_at(tmp_path / "model")
    out = tmp_path / "out.pxr"
    assert main(["compress", model, str(photos), "--out", str(out)]) == 0
    fails(capsys, ["decompress", str(out), "--out", str(out)], r"out\.pxr is a file, expected a new or empty folder")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert main(["decompress", str(out), "--out", str(tmp_path / "link")]) == 0
    assert pixels(tmp_path / "empty") == pixels(photos)
