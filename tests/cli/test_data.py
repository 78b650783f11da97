import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pixelrnn.cli import main
from pixelrnn.data import cache
from tests.cli.checks import TINY, fails


def write(path: Path, level: int = 0, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 8), level).save(path)


def test_the_counts_of_files_and_of_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for n in range(30):
        write(tmp_path / "photos" / f"{n}.png", n // 2)  # each image twice
    (tmp_path / "photos" / "notes.txt").write_text("x")
    (tmp_path / "photos" / "bad.png").write_text("x")
    read = ["data", "--data", "folder", "--data.path", str(tmp_path / "photos")]
    fails(capsys, read, r"photos/bad\.png is not an image file, expected BMP[^;]*")
    assert main([*read, "--data.skip-damaged"]) == 0
    out = capsys.readouterr().out.splitlines()
    drawn = "test: 4 of 30 drawn with seed 0; valid: 3 of 26 drawn with seed 0"
    assert out[0] == f"photos, 256 levels; unusable files left out: 1; {drawn}"
    assert out[3] == "32 files: 30 read, 1 skipped (1 .txt), 1 refused"
    assert out[4].startswith(f"refused: {tmp_path}/photos/bad.png is not an image file")
    assert out[5:]
    assert all(line.startswith("warning: exact copies of") for line in out[5:])


def test_looking_at_a_few_images_needs_no_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "few.npy", np.zeros((3, 8, 8), np.uint8))
    array = ["--data", "array", "--data.path", str(tmp_path / "few.npy")]
    assert main(["data", *array, "--out", str(tmp_path / "look.png")]) == 0
    assert "train 3, valid 0, test 0 images" in capsys.readouterr().out
    with Image.open(tmp_path / "look.png") as sheet:
        assert sheet.width > 8
    fails(capsys, ["train", "--run", str(tmp_path / "run"), *array], r"data\.test 0\.1 draws 0 of 3 images")
    for part, counts in (("valid", "train 0, valid 3, test 0"), ("test", "train 0, valid 0, test 3")):
        every = [f"--data.{part}", "1", "--data.flip"]
        assert main(["data", *array, *every, "--out", str(tmp_path / "look.png"), "--overwrite"]) == 0
        assert f"{counts} images" in capsys.readouterr().out
    fails(capsys, ["train", "--run", str(tmp_path / "run"), *array, "--data.test", "1"], "data.test 1 draws 3 of 3")


def test_the_images_of_a_run_with_crops_are_cut_out_and_the_commands_say_so(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    photo = np.random.default_rng(0).integers(0, 256, (24, 24), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photos" / "a.png")
    cropped = tmp_path / "cropped"
    shutil.copytree(run, cropped)
    config = yaml.safe_load((cropped / "config.yaml").read_text())
    config["data"] |= {"source": "folder", "path": str(tmp_path / "photos"), "size": [8, 8], "crop": "centre"}
    (cropped / "config.yaml").write_text(yaml.safe_dump(config))
    Image.fromarray(photo[8:16, 8:16]).save(tmp_path / "centre.png")
    images = ["--images", str(tmp_path / "photos")]
    for model, own, told in (
        (cropped, images, "photos, 17 levels (v·17 // 256); 8×8 in the centre; converted to grey"),
        (run, ["--images", str(tmp_path / "centre.png")], "centre.png, 17 levels (v·17 // 256); scaled to 8×8;"),
        (run, images, "photos, 17 levels (v·17 // 256); scaled to 8×8;"),
        (run, [*images, "--data.crop", "centre"], "photos, 17 levels (v·17 // 256); 8×8 in the centre;"),
    ):
        assert main(["evaluate", str(model), *own]) == 0
        assert capsys.readouterr().out.startswith(told)
        out = tmp_path / "c.png"
        assert main(["complete", str(model), *own, "--out", str(out), "--overwrite"]) == 0
        assert capsys.readouterr().out.startswith(f"images: {told}")
        original = np.load(out.with_suffix(".npz"))["original"][0]
        is_cut = (original == photo[8:16, 8:16].astype(int) * 17 // 256).all()
        assert is_cut == ("centre" in told)


def test_a_run_is_named_after_its_recipe_or_its_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runs: list[Path] = []
    monkeypatch.setattr("pixelrnn.training.fit.fit", lambda recipe, path, **_: runs.append(path))
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("model: {depth: 1}")
    Path("photos.v2").mkdir()
    Path("sub").mkdir()
    Path("sub/samples.npz").touch()
    for tokens in (
        [],
        ["mnist-cnn"],
        [str(recipe)],
        ["--data", "folder", "--data.path", "photos.v2/"],
        ["--data", "folder", "--data.path", "."],
        ["--data", "array", "--data.path", "sub/samples.npz"],
        ["--data", "huggingface", "--data.path", "owner/flowers"],
        ["--data", "mnist"],
        ["--run", "here", "--data", "mnist"],
    ):
        if tokens == ["--data", "folder", "--data.path", "."]:
            fails(capsys, ["train", *tokens], "would add its samples to --data.path")
        else:
            assert main(["train", *tokens]) == 0
    names = [str(path) for path in runs]
    wanted = "runs/digits runs/mnist-cnn runs/mine runs/photos.v2 runs/samples runs/flowers runs/mnist here"
    assert names == wanted.split()


def test_images_of_any_file_take_the_options_of_decoding(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    for background in ("white", "black"):
        tokens = ["--images", str(tmp_path / "clear.png"), "--data.background", background]
        scores = ["--per-image", str(tmp_path / "scores" / f"{background}.csv")]
        assert main(["evaluate", str(run), *tokens, *scores]) == 0
        write(tmp_path / f"{background}.png", 255 if background == "white" else 0)
        assert main(["evaluate", str(run), "--images", str(tmp_path / f"{background}.png")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert sum(line.endswith("; percentiles among 167 validation images") for line in told) == 2
    lines = [line.rpartition("|")[2] for line in told if "|" in line]
    assert lines[0] == lines[1] != lines[2] == lines[3]
    images = ["evaluate", str(run), "--images", str(tmp_path / "clear.png")]
    fails(capsys, [*images, "--data.max-pixels", "63"], r"clear\.png has 8×8 pixels, expected at most 63")
    fails(capsys, [*images, "--data.levels", "4"], "--images cannot be combined with --data.levels")
    assert main([*images, "--data.size", "3", "5"]) == 0
    assert "scaled to 3×5" in capsys.readouterr().out
    assert main([*images, "--data.size", "3", "5", "--per-image", str(tmp_path / "scores" / "small.csv")]) == 0
    assert caplog.messages[-1] == "no percentiles: the images are 3×5, the validation images 8×8"
    (tmp_path / "bad.png").write_text("x")
    shutil.rmtree(tmp_path / "scores")
    assert main(["evaluate", str(run), "--images", str(tmp_path), "--data.skip-damaged"]) == 0
    assert "all, 3 images" in capsys.readouterr().out


def test_missing_labels_say_which_image_lacks_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train/ant/0.png", "train/bee/0.png", "valid/ant/0.png", "valid/cow/0.png", "test/ant/0.png"):
        write(tmp_path / "photos" / name)
    tokens = ["--data", "folder", "--data.path", str(tmp_path / "photos"), "--model.labels", *TINY]
    message = r"have none: cow/0\.png in valid has the class cow, which no training image has"
    fails(capsys, ["train", "--run", str(tmp_path / "run"), *tokens], message)


def test_the_cache_is_listed_with_its_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "--cache-info"]) == 0
    place = cache.folder()
    assert capsys.readouterr().out == f"{place}: 0 sets, 0 bytes\n"
    for n in range(30):
        write(tmp_path / "photos" / f"{n}.png", n)
    assert main(["data", "--data", "folder", "--data.path", str(tmp_path / "photos")]) == 0
    (place / ".killed.part").mkdir()
    (place / ".killed.part" / "parts.jsonl").write_text('{"name": "/other", "state": ""}\n')
    (place / "notes.txt").write_text("not ours")
    capsys.readouterr()
    assert main(["data", "--cache-info"]) == 0
    total, killed, whole = capsys.readouterr().out.splitlines()
    (entry,) = [entry for entry in cache.entries() if entry.shape]
    assert total == f"{place}: 2 sets, {entry.size + 32:,} bytes"
    assert killed.split() == [".killed.part", "32", "bytes", "not", "complete", "/other"]
    assert whole.startswith(f"{entry.folder.name} ")
    assert whole.endswith(f" {entry.size:,} bytes  30 images of 8×8×1  {tmp_path / 'photos'}")
    assert entry.size == sum(file.stat().st_size for file in entry.folder.iterdir()) > 30 * 64
