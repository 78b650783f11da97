"""The commands in the docstrings of the benchmarks start."""

import ast
from pathlib import Path

import pytest

import benchmarks

SCRIPTS = sorted(Path(benchmarks.__file__).parent.glob("[!_]*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_that_import_others_are_called_as_modules(script: Path) -> None:
    """A script that Python starts by its path does not find the packages of the folder that it is started in."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    if any(name.split(".")[0] in ("benchmarks", "tests") for name in imported):
        assert f"python benchmarks/{script.name}" not in (ast.get_docstring(tree) or "")
