"""The installations of `make`."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def installs(folder: Path, target: str) -> list[str]:
    """The packages that `make` would ask pip to install."""
    done = subprocess.run(["make", "--dry-run", target], cwd=folder, capture_output=True, text=True, check=True)
    return [line.split()[-1].strip("'") for line in done.stdout.splitlines() if "pip install" in line]


def test_the_demo_installs_less_and_neither_redoes_the_work_of_the_other(tmp_path: Path) -> None:
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("hatch_build.py", "src/pixelrnn/ops/build.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "src/pixelrnn/ops/csrc", tmp_path / "src/pixelrnn/ops/csrc")
    (tmp_path / ".venv").mkdir()
    assert installs(tmp_path, "demo") == ["torch", ".[train]"]
    assert installs(tmp_path, "test") == ["torch", ".[compress,demo,dev,docs,heif,hf,train]"]
    for stamp in ("torch", "train"):
        (tmp_path / ".venv" / stamp).touch()
    assert installs(tmp_path, "demo") == []
    assert installs(tmp_path, "test") == installs(tmp_path, "docs") == [".[compress,demo,dev,docs,heif,hf,train]"]
    (tmp_path / ".venv" / "all").touch()
    assert installs(tmp_path, "test") == installs(tmp_path, "docs") == installs(tmp_path, "demo") == []
    # A change of the C++ triggers a compilation.
    later = time.time() + 60
    os.utime(tmp_path / "src/pixelrnn/ops/csrc/scan.h", (later, later))
    assert installs(tmp_path, "demo") == [".[train]"]
