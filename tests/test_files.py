import os
from pathlib import Path

import pytest

from pixelrnn.files import replacing


def test_a_file_is_replaced_when_all_went_well(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    for text in ("first", "second"):
        with replacing(path) as temporary:
            temporary.write_text(text)
            assert temporary.suffix == ".txt"
        assert path.read_text() == text
    assert os.listdir(path.parent) == ["a.txt"]
    plain = tmp_path / "b.txt"
    plain.write_text("")
    assert path.stat().st_mode == plain.stat().st_mode


def test_the_old_file_stays_when_something_failed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half-way"), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("ne")
        raise RuntimeError("half-way")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]
