"""Uploads with the real library huggingface_hub, to a stand-in for the Hub on this machine."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from pixelrnn import InputError, MultiScalePixelRNN, PixelRNN
from pixelrnn.cli import main
from pixelrnn.models import ImageModel, from_pretrained
from pixelrnn.models.hub import card
from tests.models.hub_server import TOKEN, Hub, serving


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serving() as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


def models() -> dict[str, ImageModel]:
    size = (4, 5)
    return {
        "grey": PixelRNN(levels=2, hidden=2, size=size),
        "rgb": PixelRNN(layer="row-lstm", channels=3, levels=5, hidden=3, size=size, orders=8),
        "class": PixelRNN(layer="pixel-cnn", levels=2, hidden=2, size=size, classes=["cat", "dog", "eel"]),
        "scales": MultiScalePixelRNN(factors=(2,), levels=2, hidden=2, size=size),
        "sizeless": PixelRNN(levels=2, hidden=2),
        "map": PixelRNN(levels=2, hidden=2, size=size, condition=3),
    }


def test_a_pushed_model_comes_back(hub: Hub) -> None:
    model = models()["rgb"]
    assert model.push_to_hub("me/rgb", about="## Score\n\ngood") == f"{hub.address}/me/rgb"
    files = hub.models["me/rgb"]
    assert {"README.md", "config.json", "model.safetensors", "samples.png"} <= files.keys()
    assert files["README.md"].decode() == card(model, "me/rgb", about="## Score\n\ngood")
    with Image.open(io.BytesIO(files["samples.png"])) as picture:
        assert picture.mode == "RGB"
    loaded = from_pretrained("me/rgb")
    assert loaded.config == model.config
    assert all(map(torch.equal, loaded.state_dict().values(), model.state_dict().values()))
    model.push_to_hub("me/rgb")  # again: replaces the files
    assert b"good" not in hub.models["me/rgb"]["README.md"]
    model.push_to_hub("me/secret", private=True)
    assert hub.private == {"me/secret"}


def test_the_command_pushes_a_run_with_its_score(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", "mnist-diagonal-1x32", "me/digits"]) == 0
    assert capsys.readouterr().out == f"model: {hub.address}/me/digits\n"
    text = hub.models["me/digits"]["README.md"].decode()
    for part in ("45,249", "80.706 nats", "source: binarized-mnist", "learning_rate: 0.002", "![Samples]"):
        assert part in text


def test_refusals_say_how_to_go_on(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    model = models()["grey"]
    for name in ("digits", "a/b/c", ""):
        with pytest.raises(InputError, match="expected owner/name"):
            model.push_to_hub(name)
    with pytest.raises(InputError, match="cannot push to me/not valid"):
        model.push_to_hub("me/not valid")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InputError, match=r"cannot push to me/grey: .*401.* log in with `hf auth login`") as refused:
        model.push_to_hub("me/grey")
    assert "For more information" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert hub.models == {}


@pytest.mark.parametrize("kind", models())
def test_the_code_of_a_card_runs(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = models()[kind]
    monkeypatch.chdir(tmp_path)
    model.save_pretrained(Path("me", kind))  # a folder, which comes before the Hub
    text = card(model, f"me/{kind}")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["model"].config == model.config
    assert ("images" in names) == (kind not in ("sizeless", "map")) == ("samples.png" in text)


@pytest.mark.parametrize("kind", models())
def test_the_front_matter_is_yaml(kind: str) -> None:
    _, front, text = card(models()[kind], f"me/{kind}").split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "pixelrnn"
    assert text.strip().startswith(f"# {kind}\n")
