import copy
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pixelrnn.data import DataConfig, Images, array, load
from pixelrnn.data.stored import Stored
from pixelrnn.errors import InputError
from pixelrnn.training.memory import forget_peak, peak


def saved(path: Path, images: "np.ndarray[tuple[int, ...], np.dtype[Any]]") -> Images:
    np.save(path, images)
    return array.load(path, levels=256).splits["train"]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, ">u2"])
@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_images_are_read_as_if_they_were_in_memory(tmp_path: Path, dtype: Any, channels: tuple[int, ...]) -> None:
    whole = np.random.default_rng(0).integers(0, 256, (9, 4, 5, *channels)).astype(dtype)
    images = saved(tmp_path / "a.npy", whole)
    assert isinstance(images.stored, Stored)
    wanted = torch.from_numpy(whole.astype(np.uint8).reshape(9, 4, 5, -1)).permute(0, 3, 1, 2)
    assert images.shape == wanted.shape[1:]
    assert torch.equal(images.pixels, wanted)
    for indices in ([], [3], [8, 7, 0, 1, 2], [5, 5]):
        assert torch.equal(images.__getitems__(indices).pixels, wanted[indices])


def test_an_array_in_fortran_order_is_read_into_memory(tmp_path: Path) -> None:
    whole = np.random.default_rng(0).integers(0, 256, (9, 4, 5), np.uint8)
    images = saved(tmp_path / "a.npy", np.asfortranarray(whole))
    assert isinstance(images.stored, torch.Tensor)
    assert images.pixels[:, 0].tolist() == whole.tolist()


@pytest.mark.parametrize("level", [-1, 256])
def test_a_level_of_any_slice_can_be_too_high_or_too_low(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    monkeypatch.setattr("pixelrnn.data.stored.BYTES_AT_ONCE", 100)
    for place in (0, 50, 98):
        whole = np.zeros((99, 2, 2), np.int16)
        whole[place, 1, 1] = level
        with pytest.raises(InputError, match=f"has a level {level}, expected 0 to 255"):
            saved(tmp_path / "a.npy", whole)


@pytest.mark.parametrize("how", ["shorter", "written", "replaced", "removed"])
def test_a_file_that_changes_is_noticed_or_harmless(tmp_path: Path, how: str) -> None:
    path, whole = tmp_path / "a.npy", np.ones((9, 4, 5), np.uint8)
    images = saved(path, whole)
    os.utime(path, (0, 0))  # as if it were old
    images = array.load(path, levels=256).splits["train"]
    if how == "shorter":
        os.truncate(path, path.stat().st_size - 1)
    elif how == "written":
        np.save(path, 2 * whole)
    elif how == "replaced":
        np.save(tmp_path / "b.npy", 2 * whole)
        (tmp_path / "b.npy").replace(path)
    else:
        path.unlink()
    if how in ("replaced", "removed"):
        assert images.pixels.unique().tolist() == [1]  # the old file stays while it is open
    else:
        with pytest.raises(InputError, match=r"a\.npy (has changed since|ends too early: it has changed since)"):
            _ = images.pixels


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of the memory")
def test_a_file_takes_no_memory_but_for_a_few_slices(tmp_path: Path) -> None:
    whole = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (50_000, 64, 64))
    whole[1::2] = 200
    del whole
    load(DataConfig())  # imports what it needs
    before = forget_peak()
    data = load(DataConfig(source="array", path=str(tmp_path / "a.npy"), levels=8, flip=True))
    bright = sum(int((pixels == 6).sum()) for pixels, _ in data.train.slices())
    assert peak() - before < 170  # the file has 195 MiB; the names take tens, and the process may keep freed memory
    assert 0.45 < bright / (len(data.train) * 4096) < 0.55


def test_a_copy_reads_the_same_file_and_notices_its_changes(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    np.save(tmp_path / "a.npy", array)
    stored = Stored.of(np.load(tmp_path / "a.npy", mmap_mode="r"))
    packed = pickle.dumps(stored)
    for each in (copy.deepcopy(stored), pickle.loads(packed)):
        own = each[torch.tensor([3, 0])]
        del each
        assert own[:, 0].tolist() == array[[3, 0]].tolist()
    np.save(tmp_path / "a.npy", np.zeros((5, 2, 3), np.uint8))
    with pytest.raises(InputError, match="has changed since it was opened"):
        pickle.loads(packed)[torch.tensor([0])]
