"""README and documentation: the code runs, the commands parse, the links resolve."""

import re
import runpy
from pathlib import Path
from textwrap import dedent

import pytest
from markdown.extensions.toc import slugify_unicode
from mkdocs.commands.build import build
from mkdocs.config import load_config

from pixelrnn.cli import app
from tests.checks import python

ROOT = Path(__file__).parent.parent
PAGES = {str(path.relative_to(ROOT)): path for path in [*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md")]}

NEEDS_TRAIN = "docs/check-causality.md"  # its figure needs matplotlib; the test of its output runs it
NEEDS_COMPRESS = "docs/compress-images.md"

BLOCK = r"```python\n((?:(?!```).)*)```"
CODE = rf"(?<!-->\n\n){BLOCK}"  # not a marked copy of the source
SECTION = r"<!-- (\S+\.py): (\w+) -->\s+" + BLOCK


def found(pattern: str) -> list[tuple[str, ...]]:
    """Each match of the pattern in a page: the page and the groups."""
    return [
        (name, *match.groups())
        for name, path in PAGES.items()
        for match in re.finditer(pattern, path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    ]


def test_the_python_runs_in_a_core_installation(tmp_path: Path) -> None:
    """One process runs the blocks of all pages, each without the names of others: importing PyTorch takes seconds."""
    blocks = [(page, code) for page, code in found(CODE) if page not in (NEEDS_TRAIN, NEEDS_COMPRESS)]
    assert len({page for page, _ in blocks}) > 5
    code = f"for page, code in {blocks!r}: exec(compile(code, page, 'exec'), {{}})"
    done = python(code, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("page", "code"), [block for block in found(CODE) if block[0] == NEEDS_COMPRESS])
def test_the_python_runs_with_its_extra(page: str, code: str) -> None:
    pytest.importorskip("constriction", reason="the extra compress is not installed")
    exec(code, {})


@pytest.mark.parametrize(("page", "code", "output"), found(BLOCK + r"\n\nIt prints\n\n```text\n(.*?)```"))
def test_the_python_prints_what_the_page_shows(
    page: str,
    code: str,
    output: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out == output


@pytest.mark.parametrize(("page", "file", "name", "code"), found(SECTION))
def test_the_code_is_that_of_the_source(page: str, file: str, name: str, code: str) -> None:
    source = (ROOT / file).read_text(encoding="utf-8")
    marked = re.search(rf"^ *# docs: begin {name}\n(.*?)^ *# docs: end {name}$", source, re.DOTALL | re.MULTILINE)
    assert marked, f"mark the section of {file} with the comments '# docs: begin {name}' and '# docs: end {name}'"
    assert code == dedent(marked[1]), f"{file} has changed: copy its section {name!r} into {page}"


@pytest.mark.parametrize(("page", "line"), found(r"^    pixelrnn ([^\n]*)$") + found(r"`pixelrnn (\w+ [^`…\n]+)`"))
def test_the_commands_are_understood(page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-recipe.yaml").write_text("model: {depth: 2}")
    (tmp_path / "runs" / "photos" / "model").mkdir(parents=True)
    (tmp_path / "runs" / "photos" / "model" / "config.json").touch()
    (tmp_path / "runs" / "photos" / "config.yaml").write_text("data: {source: folder, path: photos}")
    app.parse_args(line.replace("RECIPE", "digits").split(), exit_on_error=False, print_error=False)


@pytest.mark.parametrize(("page", "script"), found(r"((?:benchmarks|examples)/\w+\.py)"))
def test_the_scripts_exist(page: str, script: str) -> None:
    assert (ROOT / script).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_no_page_is_empty(page: str) -> None:
    assert PAGES[page].read_text(encoding="utf-8").strip()


@pytest.mark.parametrize(("page", "target", "anchor"), found(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)"))
def test_the_links_lead_somewhere(page: str, target: str, anchor: str) -> None:
    path = PAGES[page].parent / target if target else PAGES[page]
    assert path.exists()
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
    assert anchor in ["", *(slugify_unicode(heading, "-") for heading in headings)]


CHINESE = {name: name.replace(".zh", "").replace("zh/", "") for name in PAGES if "zh" in name}


@pytest.mark.parametrize(("page", "english"), CHINESE.items())
def test_a_chinese_page_has_the_sections_code_numbers_and_pictures_of_the_english_one(page: str, english: str) -> None:
    parts = r"^#+ |^    (?:make|pip|pixelrnn|python) .*|(?s:```python.*?```)|[\w-]+\.(?:gif|png)\)|\| [*\d.,]+(?= \|)"
    both = [re.sub("  # .*", "", PAGES[name].read_text(encoding="utf-8")) for name in (page, english)]
    ours, theirs = (re.findall(parts, text, re.MULTILINE) for text in both)
    assert ours == theirs


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
