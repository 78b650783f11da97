"""Scripts stand in for the two versions; one version answers in this process."""

import runpy
import sys
from io import StringIO
from pathlib import Path

import pytest

from benchmarks import versions


def python(path: Path, *, seconds: float) -> str:
    """A program in the place of Python that answers each line with these seconds."""
    path.write_text(
        f'#!/bin/sh\n[ "$2 $3" = "--answer sample-1-digit" ] || exit 1\nwhile read -r _; do echo {seconds}; done\n'
    )
    path.chmod(0o755)
    return str(path)


def test_the_times_of_both_versions_and_their_ratio_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(versions, "STARTS", 2)
    monkeypatch.setattr(sys, "executable", python(tmp_path / "this", seconds=0.003))
    versions.main(python(tmp_path / "other", seconds=0.002), "sample-1-digit")
    assert capsys.readouterr().out.splitlines()[1].split() == ["sample-1-digit", "2.00", "3.00", "1.500"]


def test_a_version_answers_each_line_with_the_seconds_of_its_task(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["versions.py", "--answer", "sample-1-digit"])
    monkeypatch.setattr(sys, "stdin", StringIO("\n\n"))
    runpy.run_path(versions.__file__, run_name="__main__")
    first, second = capsys.readouterr().out.splitlines()
    assert 0 < float(first) < 10
    assert 0 < float(second) < 10


@pytest.mark.parametrize("what", ["step", "bfloat16", "forward", "sample"])
def test_every_kind_of_task_runs(what: str) -> None:
    versions.work(what, 1, {"hidden": 2}, 1, 4)()
