"""The package states its version once, and needs no installed metadata for it."""

import re
from pathlib import Path

import yaml

import pixelrnn

ROOT = Path(__file__).parent.parent


def test_the_project_takes_the_version_of_the_package() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[0]
    assert 'dynamic = ["version"]' in project
    assert not re.search(r"^version\s*=", project, re.MULTILINE)
    assert f"## [{pixelrnn.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_module_asks_the_installed_metadata() -> None:
    asks = [path.name for path in (ROOT / "src").rglob("*.py") if "importlib.metadata" in path.read_text("utf-8")]
    assert asks == []


def test_the_citation_has_the_version_and_is_that_of_the_readme() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == pixelrnn.__version__
    assert str(citation["date-released"]) in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    paper, readme = citation["preferred-citation"], (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"title     = {{{paper['title']}}}" in readme
    assert f"pages     = {{{paper['start']}--{paper['end']}}}" in readme
    assert [author["family-names"] for author in paper["authors"]] == ["van den Oord", "Kalchbrenner", "Kavukcuoglu"]
