import re
from pathlib import Path

import pytest

from pixelrnn import PixelRNN
from pixelrnn.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_python_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    PixelRNN(levels=17, hidden=2, size=(8, 8)).save_pretrained("runs/demo/model")
    exec(code, {})


@pytest.mark.parametrize("line", re.findall(r"^    pixelrnn (.*)$", README, re.MULTILINE))
def test_the_commands_are_understood(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-recipe.yaml").write_text("model: {depth: 2}")
    (tmp_path / "runs" / "photos").mkdir(parents=True)
    (tmp_path / "runs" / "photos" / "config.yaml").write_text("data: {source: folder, path: photos}")
    app.parse_args(line.split(), exit_on_error=False, print_error=False)


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)", README))
def test_the_links_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()
