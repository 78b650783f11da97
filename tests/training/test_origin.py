from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pixelrnn import InputError
from pixelrnn.data import DataConfig, Images, load
from pixelrnn.training.fit import fit
from pixelrnn.training.origin import describe, origin
from tests.training.runs import recipe, rows


def test_an_origin_names_images_and_versions() -> None:
    own = origin(load(DataConfig()))
    assert [*own] == ["train images", "valid images", "torch version", "pixelrnn version"]
    assert own["train images"].startswith("1,")
    assert own["torch version"] == torch.__version__.partition("+")[0]


def test_pixels_names_labels_and_shapes_count() -> None:
    pixels = torch.arange(24, dtype=torch.uint8).reshape(4, 1, 2, 3)
    changed = pixels.clone()
    changed[3, 0, 1, 2] += 1
    kinds = [
        Images(pixels),
        Images(changed),
        Images(pixels.reshape(4, 1, 3, 2)),
        Images(pixels[:3]),
        Images(pixels, ["a", "b", "c", "d"]),
        Images(pixels, ["a", "b", "c", "\udcff"]),
        Images(pixels, None or [], torch.zeros(4, dtype=torch.long)),
        Images(pixels, None or [], torch.ones(4, dtype=torch.long)),
    ]
    assert len({describe(images) for images in kinds}) == len(kinds)
    assert describe(Images(pixels.clone())) == describe(kinds[0])


def test_a_run_resumes_with_its_own_images_only(tmp_path: Path, images: DataConfig) -> None:
    fit(recipe(images, epochs=1), tmp_path / "run")
    with np.load(str(images.path)) as arrays:
        train, valid = (np.concatenate([arrays[name], arrays[name][:20]]) for name in ("train", "valid"))
        np.savez(tmp_path / "more.npz", train=train, valid=valid, test=arrays["test"])
    r = recipe(replace(images, path=str(tmp_path / "more.npz")))
    with pytest.raises(
        InputError, match=r"has train images 40 \(blake2b \w+\), got 60 \(blake2b \w+\): restore them, or force the run"
    ):
        fit(r, tmp_path / "run", resume=True)
    fit(r, tmp_path / "run", resume=True, force=True)
    assert [row["epoch"] for row in rows(tmp_path / "run")] == ["1", "2"]


@pytest.mark.parametrize("package", ["torch", "pixelrnn"])
def test_a_run_resumes_with_its_own_versions_only(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    fit(recipe(images, epochs=1), tmp_path / "run")
    monkeypatch.setattr(
        {"torch": "torch.__version__", "pixelrnn": "pixelrnn.training.origin.__version__"}[package], "9.9"
    )
    with pytest.raises(InputError, match=rf"has {package} version \S+, got 9\.9: restore them, or force"):
        fit(recipe(images), tmp_path / "run", resume=True)
    fit(recipe(images), tmp_path / "run", resume=True, force=True)
