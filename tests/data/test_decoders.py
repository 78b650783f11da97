import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixelrnn.data import decoders
from pixelrnn.data.decoders import File
from pixelrnn.data.pillow import Decoding
from pixelrnn.errors import InputError
from tests.checks import python


def parts(folder: Path, n: int = 12) -> list[list[File]]:
    """Parts of two files, of which one is damaged."""
    for k in range(n):
        Image.new("L", (5, 4), k).save(folder / f"{k}.png")
    (folder / "3.png").write_bytes(b"")
    files = [File(f"{k}.png", folder / f"{k}.png", str(folder / f"{k}.png")) for k in range(n)]
    return [files[k : k + 2] for k in range(0, n, 2)]


@pytest.mark.slow  # starts processes
@pytest.mark.parametrize("crop", [None, "tiles"])
def test_other_processes_decode_the_same_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crop: Any
) -> None:
    files, how = parts(tmp_path), Decoding(size=(2, 2), crop=crop)
    alone = [*decoders.decoded(files, how, count=6)]
    monkeypatch.setattr(decoders, "FEW", 2)
    monkeypatch.setattr(decoders, "_cores", lambda: 3)
    started, popen = list[Any](), subprocess.Popen

    def noted(*args: Any, **how: Any) -> "subprocess.Popen[bytes]":
        started.append(popen(*args, **how))
        process: subprocess.Popen[bytes] = started[-1]
        return process

    monkeypatch.setattr("subprocess.Popen", noted)
    together = [*decoders.decoded(iter(files), how, count=6)]
    assert len(started) == 3
    for one, other in zip(alone, together, strict=True):
        assert (one.files, one.names, one.refused) == (other.files, other.names, other.refused)
        assert np.array_equal(one.pixels, other.pixels)
    assert [len(part.names) for part in alone] == [n * (4 if crop else 1) for n in (2, 1, 2, 2, 2, 2)]
    assert all(process.returncode is not None for process in started)


@pytest.mark.slow  # starts processes
def test_a_process_that_is_killed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "FEW", 2)
    monkeypatch.setattr(decoders, "_cores", lambda: 2)
    popen = subprocess.Popen

    def killed(*args: Any, **how: Any) -> "subprocess.Popen[bytes]":
        process = popen(*args, **how)
        os.kill(process.pid, signal.SIGKILL)
        return process

    monkeypatch.setattr("subprocess.Popen", killed)
    with pytest.raises(InputError, match="a process that decodes images ended with status -9: is there enough memory"):
        [*decoders.decoded(parts(tmp_path), Decoding(), count=6)]


def test_they_import_no_pytorch() -> None:
    done = python("import sys, pixelrnn.data.decoders; assert not {'torch', 'pixelrnn.data.images'} & {*sys.modules}")
    assert done.returncode == 0, done.stderr


def test_a_part_leaves_out_images_of_another_shape(tmp_path: Path) -> None:
    files = [file for part in parts(tmp_path) for file in part]
    Image.new("RGB", (5, 4)).save(tmp_path / "5.png")
    (part,) = decoders.decode(files, Decoding())
    assert part.others == {(3, 4, 5): ["5.png"]}
    assert part.pixels.shape[1:] == (4, 5, 1)


def test_large_files_end_a_part_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [file for part in parts(tmp_path) for file in part]
    (whole,) = decoders.decode(files, Decoding())
    monkeypatch.setattr(decoders, "BYTES", 3 * 4 * 5)
    several = [*decoders.decode(files, Decoding())]
    assert len(several) > 3
    assert sum(part.files for part in several) == len(files)
    assert [name for part in several for name in part.names] == whole.names
    assert np.array_equal(np.concatenate([part.pixels for part in several if part.names]), whole.pixels)
    assert all(part.pixels.base is None for part in several)
