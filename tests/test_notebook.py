"""The notebook runs from top to bottom, as a reader runs it."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parent.parent / "examples" / "pixelrnn.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def run(code: str, names: dict[str, Any]) -> object:
    """Runs a cell and returns the value of its last line, if that is an expression, as a notebook shows it."""
    body = ast.parse(code).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None


@pytest.mark.slow  # a training of half a minute
@pytest.mark.timeout(600)  # on a busy machine
def test_every_cell_runs_and_shows_what_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = dict[str, Any]()
    for cell in CELLS:
        code = "".join(cell["source"])
        if cell["cell_type"] == "code" and not code.startswith("%pip install "):
            shown = run(code, names)
            kept = [kind for output in cell["outputs"] for kind in output.get("data", {})]
            assert hasattr(shown, "_repr_png_") == ("image/png" in kept), code
    assert names["nats"].mean() < 86  # a first-order Markov chain has 103 on these images
    assert names["completed"].shape == names["images"].shape
    assert list(tmp_path.iterdir()) == []


def test_its_outputs_are_small_and_tell_nothing_of_a_machine() -> None:
    assert NOTEBOOK.stat().st_size < 200_000
    outputs = [output for cell in CELLS for output in cell.get("outputs", [])]
    assert outputs
    assert not re.search(r"/(tmp|home|root|work|Users)/", json.dumps(outputs))
    assert not [output for output in outputs if output["output_type"] == "error"]
