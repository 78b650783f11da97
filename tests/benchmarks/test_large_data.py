from pathlib import Path

import numpy as np
import pytest

from benchmarks import large_data
from pixelrnn.data import DataConfig, load
from pixelrnn.errors import InputError


def test_a_folder_and_an_array_hold_the_same_images(tmp_path: Path) -> None:
    large_data.make_folder(tmp_path / "photos", 30)
    large_data.make_array(tmp_path / "a.npy", 30)
    array = load(DataConfig(source="array", path=str(tmp_path / "a.npy"), valid=0.5, test=0.5), only_look=True)
    folder = load(DataConfig(source="folder", path=str(tmp_path / "photos"), valid=0.5, test=0.5), only_look=True)
    both = [sorted(x.numpy().tobytes() for images in d.splits.values() for x in images.pixels) for d in (array, folder)]
    assert both[0] == both[1]
    assert len({*both[0]}) == 30
    assert np.array_equal(large_data.pictures(0, 5), large_data.pictures(0, 5))


def test_a_small_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"100,000,000,000 images need 2,457,600,000,000,000 bytes in .* has room for"):
        large_data.check_room(tmp_path, 10**11, copies=2)
