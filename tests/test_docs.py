"""The README and the documentation: their code runs, their commands are understood, their links lead somewhere."""

import re
import runpy
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from pixelrnn import PixelRNN
from pixelrnn.cli import app

ROOT = Path(__file__).parent.parent
PAGES = {str(path.relative_to(ROOT)): path for path in [*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md")]}

PRINTED = [
    example
    for path in PAGES.values()
    for example in re.findall(
        r"```python\n((?:(?!```).)*)```\n\nIt prints\n\n```text\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL
    )
]
"""The code of pages that show its output, with this output."""


def found(pattern: str) -> list[tuple[str, str]]:
    """Each page that holds the pattern, with what its group matched."""
    return [
        (name, match)
        for name, path in PAGES.items()
        for match in re.findall(pattern, path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    ]


@pytest.mark.parametrize(("page", "code"), found(r"^```python\n((?!--8<--).*?)```"))
def test_the_python_runs(page: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    PixelRNN(levels=17, hidden=2, size=(8, 8)).save_pretrained("runs/demo/model")
    exec(code, {})


@pytest.mark.parametrize(("code", "output"), PRINTED)
def test_the_python_prints_what_the_page_shows(
    code: str, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out == output


@pytest.mark.parametrize(("page", "line"), found(r"^    pixelrnn ([^\n]*)$"))
def test_the_commands_are_understood(page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-recipe.yaml").write_text("model: {depth: 2}")
    (tmp_path / "runs" / "photos").mkdir(parents=True)
    (tmp_path / "runs" / "photos" / "config.yaml").write_text("data: {source: folder, path: photos}")
    app.parse_args(line.split(), exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", PAGES)
def test_no_page_is_empty(page: str) -> None:
    assert PAGES[page].read_text(encoding="utf-8").strip()


@pytest.mark.parametrize(("page", "target"), found(r"\]\((?!http)([^)#]+)"))
def test_the_links_lead_somewhere(page: str, target: str) -> None:
    assert (PAGES[page].parent / target).exists()


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "row_and_diagonal.py"), run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-1] == "both equal the layers, (2, 4, 5, 7)"


@pytest.mark.slow  # renders every page of the site
def test_the_site_builds_strictly_and_asks_no_other_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path)))
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        for source in re.findall(
            r"<(?:script|link|img|iframe)[^>]* (?:src|href)=[\"']?(https?:[^\"' >]+)", page.read_text()
        ):
            raise AssertionError(f"{page.name} loads {source}")
