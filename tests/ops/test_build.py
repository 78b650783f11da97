import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixelrnn.compiled import BuildError, build, operators


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nothing has been built yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    operators.cache_clear()
    yield tmp_path / "pixelrnn"
    operators.cache_clear()


def test_what_is_built_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    operators()
    operators.cache_clear()
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("built again"))
    assert operators().line_lstm


def test_no_compiler(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BuildError, match="needs a C\\+\\+ compiler: no-such-compiler is not there"):
        operators()


@pytest.mark.parametrize("command", [" ", "g++ '"])
def test_what_is_no_command(empty_cache: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("CXX", command)
    with pytest.raises(BuildError, match=r"CXX is .*, which is no command"):
        operators()


def test_a_compiler_that_fails_leaves_nothing(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-std=no-such-standard"))
    with pytest.raises(BuildError, match=r"cannot be built: .*no-such-standard"):
        operators()
    assert [path.suffix for path in empty_cache.iterdir()] == [".lock"]


def test_a_compiler_that_writes_nothing(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "true")
    with pytest.raises(BuildError, match=r"cannot be built: .*exit status 0"):
        operators()
    assert [path.suffix for path in empty_cache.iterdir()] == [".lock"]


def test_a_damaged_library_is_not_kept(empty_cache: Path) -> None:
    library = build._library()
    library.parent.mkdir()
    library.write_text("not a library")
    with pytest.raises(BuildError, match="cannot be loaded"):
        operators()
    assert not library.exists()


def test_no_home(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(BuildError, match="cannot be kept in the user's cache: Could not determine home"):
        operators()


def test_a_cache_that_cannot_be_written(empty_cache: Path) -> None:
    empty_cache.write_text("a file, not a folder")
    with pytest.raises(BuildError, match="cannot be kept in"):
        operators()
