import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pixelrnn.ops import build, cpu


@pytest.fixture
def one_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that compiles in a second: it only holds a name."""
    monkeypatch.setattr(build, "VARIANTS", {"default": ((), set())})


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the installed libraries, in which the package now looks for them."""
    folder = shutil.copytree(build.LIBRARIES, tmp_path / "lib")
    monkeypatch.setattr(cpu, "LIBRARIES", folder)
    return folder


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(build.BuildError, match=r"no C\+\+ compiler found, tried no-such-compiler: install one"):
        build.build(tmp_path / "lib")
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.BuildError, match=r"no C\+\+ compiler found, tried g\+\+, clang\+\+, c\+\+: install one"):
        build.build(tmp_path / "lib")


def test_what_is_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "g++ '")
    with pytest.raises(build.BuildError, match=r'CXX is "g\+\+ \'", expected the command of a C\+\+ compiler'):
        build.build(tmp_path)


@pytest.mark.usefixtures("one_variant")
def test_a_compiler_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-std=no-such-standard"))
    with pytest.raises(build.BuildError, match=r"cannot compile .*kernels\.cpp: .*no-such-standard"):
        build.build(tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.usefixtures("one_variant")
def test_a_compiler_that_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "true")
    with pytest.raises(build.BuildError, match=r"cannot compile .*: exit status 0"):
        build.build(tmp_path)
    assert not any(tmp_path.iterdir())


def test_the_fastest_library_that_the_processor_can_run_is_loaded(installed: Path) -> None:
    library, variant = cpu._choose()
    assert library is not None
    assert variant == cpu.variant
    (installed / f"{variant}.so").unlink()
    if variant != list(build.VARIANTS)[-1]:
        assert cpu._choose()[1] in list(build.VARIANTS)[list(build.VARIANTS).index(variant) + 1 :]


@pytest.mark.parametrize("damage", [b"", b"not a library", b"\x7fELF" + bytes(60)])
def test_a_damaged_library_is_not_loaded(installed: Path, damage: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    path = installed / f"{cpu.variant}.so"
    path.unlink()
    path.write_bytes(damage)
    library, variant = cpu._choose()
    assert variant != cpu.variant  # it falls back to the next library, if there is one
    monkeypatch.setattr(cpu, "VARIANTS", {cpu.variant: build.VARIANTS[cpu.variant]})
    library, why = cpu._choose()
    assert library is None
    assert f"{path} is damaged" in why


@pytest.mark.parametrize("part", [0.0002, 0.001, 0.04, 0.3, 0.6])
def test_a_library_that_was_cut_off_is_not_loaded(
    installed: Path, part: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a bus error ends this process."""
    path = installed / f"{cpu.variant}.so"
    whole = path.read_bytes()
    path.unlink()  # it is a file of its own: others are mapped
    path.write_bytes(whole[: int(part * len(whole))])
    monkeypatch.setattr(cpu, "VARIANTS", {cpu.variant: build.VARIANTS[cpu.variant]})
    library, why = cpu._choose()
    assert library is None
    assert f"{path} is damaged" in why


def test_a_library_of_other_sources_is_not_loaded(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "sources", lambda: "others")
    library, why = cpu._choose()
    assert library is None
    assert "was compiled from other sources" in why


def test_an_old_processor_has_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "VARIANTS", {"x86-64-v9": (("-march=x86-64-v9",), {"avx9"})})
    assert cpu._choose() == (None, "this processor has no AVX2")
    monkeypatch.setattr(cpu, "Path", lambda _: Path("no-such-file"))
    assert cpu._choose() == (None, "/proc/cpuinfo does not list the processor's flags")


def test_what_is_missing_is_said_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "variant", "it was not compiled during the installation of pixelrnn")
    cpu.say_what_is_missing.cache_clear()
    with caplog.at_level(logging.WARNING):
        cpu.say_what_is_missing()
        cpu.say_what_is_missing()
    (record,) = caplog.records
    assert "it was not compiled during the installation of pixelrnn" in record.getMessage()
    assert "python -m pixelrnn.ops" in record.getMessage()


@pytest.mark.slow  # a process of its own
def test_by_hand_it_says_in_one_line_what_is_wrong() -> None:
    command = [sys.executable, "-W", "error", "-m", "pixelrnn.ops"]
    environment = {**os.environ, "CXX": "no-such-compiler"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    wrong = "no C++ compiler found, tried no-such-compiler: install one, or set CXX to its command"
    assert done.stderr == f"pixelrnn.ops: {wrong}\n"
