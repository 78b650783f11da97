from pathlib import Path

import pytest

from pixelrnn import InputError, recipes
from pixelrnn.cli import app


@pytest.mark.parametrize("path", sorted(Path(recipes.__file__).parent.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_comes_with_the_package_is_understood(path: Path) -> None:
    assert recipes.find(path.stem) == path
    app.parse_args(["train", path.stem], exit_on_error=False, print_error=False)


def test_sections_may_be_empty(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("model:\ndata: {source: digits}\n")
    assert recipes.read(recipes.find(str(tmp_path / "a.yaml"))) == {"model": {}, "data": {"source": "digits"}}


@pytest.mark.parametrize("text", ["", "model", "- model", "model: row-lstm", "1: {}", "model: {2: 3}"])
def test_what_has_no_sections_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=r"a\.yaml is no recipe: expected the sections model, data and train"):
        recipes.read(tmp_path / "a.yaml")


@pytest.mark.parametrize("data", [b"model: [", b"\xff\xfe", b"[" * 5000])
def test_what_is_no_yaml_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.yaml is not YAML"):
        recipes.read(tmp_path / "a.yaml")
