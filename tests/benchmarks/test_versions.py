"""Compares this version with itself."""

import sys

import pytest

from benchmarks import versions


@pytest.mark.slow  # starts two processes
def test_a_version_is_as_fast_as_itself(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(versions, "STARTS", 1)
    monkeypatch.setattr(versions, "TURNS", 1)
    versions.main(sys.executable, "sample-1-digit")
    name, *numbers = capsys.readouterr().out.splitlines()[1].split()
    assert name == "sample-1-digit"
    assert 0.1 < float(numbers[2]) < 10


@pytest.mark.parametrize("what", ["step", "bfloat16", "forward", "sample"])
def test_every_kind_of_task_runs(what: str) -> None:
    versions.work(what, 1, {"hidden": 2}, 1, 4)()
