from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from pixelrnn.cli import app
from pixelrnn.errors import InputError
from pixelrnn.nn import LayerKind
from pixelrnn.training.recipe import SHIPPED, Device, ModelConfig, TrainConfig, find_recipe, read_recipe, resolve
from tests.ranks import variables


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, r"train\.epochs must be at least 1, got 0"),
        ({"batch": 0}, r"train\.batch must be at least 1, got 0"),
        ({"warmup": -1}, r"train\.warmup must be at least 0, got -1"),
        ({"clip": float("nan")}, r"train\.clip must be at least 0, got nan"),
        ({"sample_every": -1}, r"train\.sample_every must be at least 0, got -1"),
        ({"learning_rate": 0.0}, r"train\.learning_rate must be above 0 and at most 1000000, got 0\.0"),
        ({"learning_rate": float("nan")}, r"train\.learning_rate must be above 0 and at most 1000000, got nan"),
        ({"learning_rate": float("inf")}, r"train\.learning_rate must be above 0 and at most 1000000, got inf"),
        ({"seed": 2**32}, r"train\.seed must be from 0 to 4294967295, got 4294967296"),
        ({"ema": 1.0}, r"train\.ema must be at least 0 and below 1, got 1\.0"),
    ],
)
def test_values_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**options)


@pytest.mark.parametrize("options", [{"depth": 1001}, {"depth": 0}, {"hidden": 4097}, {"head": 2**16 + 1}, {"head": 0}])
def test_networks_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"model\.{next(iter(options))} must be from 1 to \d+, got \d+"):
        ModelConfig(**options)


def test_the_layers_are_those_that_there_are() -> None:
    assert get_args(get_type_hints(ModelConfig)["layer"]) == get_args(LayerKind)


@pytest.mark.parametrize("path", SHIPPED.values(), ids=SHIPPED)
def test_what_comes_with_the_package_is_understood(path: Path) -> None:
    assert find_recipe(path.stem) == path
    app.parse_args(["train", path.stem], exit_on_error=False, print_error=False)


def test_sections_may_be_empty(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("model:\ndata: {source: digits}\n")
    assert read_recipe(find_recipe(str(tmp_path / "a.yaml"))) == {"model": {}, "data": {"source": "digits"}}


@pytest.mark.parametrize("text", ["", "model", "- model", "model: row-lstm", "1: {}", "model: {2: 3}"])
def test_what_has_no_sections_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=r"a\.yaml is not a recipe, expected the sections model, data and train"):
        read_recipe(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "factors: [[2], [2]]",
        "factors: {a: 2}",
        "hidden: {a: [1]}",
        f"hidden: 0x{'f' * 5000}",
        f"hidden: {10**10}",
        f"factors: [{-(10**10)}]",
        f"hidden: 1{':00' * 300}",
    ],
)
def test_options_are_plain_values_and_lists_of_them(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"model: {{{text}}}")
    with pytest.raises(
        InputError, match=r"a\.yaml is not a recipe, .* with options that are text, numbers below 10¹⁰ or lists of"
    ):
        read_recipe(tmp_path / "a.yaml")


def test_text_that_yaml_has_other_ideas_of_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("model: {<<: {a: 2}}")
    with pytest.raises(InputError, match=r"a\.yaml is not a recipe"):
        read_recipe(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("data: {path: 2024-13-01, key: <<, valid: 0.5, size: [1, 2], mode: =}")
    plain = {"path": "2024-13-01", "key": "<<", "valid": 0.5, "size": [1, 2], "mode": "="}
    assert read_recipe(tmp_path / "a.yaml") == {"data": plain}


BOMB = "\n".join(["a0: &a0 {a: 1}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 14))])


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "model: &a {b: *a}",
        "model: &a [*a]",
        "model: &unused {}",
        "model: !!set {a}",
        "model: {layer: !!binary aGk=}",
        "model: {hidden: !!int '3'}",
        "model: !!python/object/apply:os.system ['true']",
        "!own {}",
        "model: {hidden: ! 3}",
    ],
)
def test_aliases_and_tags_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=r"a\.yaml is not valid YAML: a recipe cannot use aliases or tags"):
        read_recipe(tmp_path / "a.yaml")


def test_recipes_are_short(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("#" * 2**16 + "\n")
    with pytest.raises(InputError, match=r"a\.yaml has 65,537 bytes, expected at most 65,536"):
        read_recipe(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    "data",
    [b"model: [", b"\xff\xfe", b"[" * 5000, b"a: 1" + b"0" * 5000, b"a: 1" + b":20" * 9999 + b".5", b"\0"],
)
def test_what_is_no_yaml_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.yaml is not valid YAML"):
        read_recipe(tmp_path / "a.yaml")


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=there: there)
        assert resolve("auto") == device
        assert resolve("cpu") == "cpu"
    with pytest.raises(InputError, match="device cuda is not available, PyTorch finds no GPU: choose"):
        resolve("cuda")


def test_no_two_processes_share_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for name, value in variables(1, 3, 0).items():
        monkeypatch.setenv(name, value)
    devices: list[Device] = ["auto", "cuda"]
    for device in devices:
        with pytest.raises(InputError, match="this machine runs 3 processes, but has 2 GPUs: start at most 2, or cho"):
            resolve(device)
    assert resolve("cpu") == "cpu"
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert resolve("auto") == "cuda"
