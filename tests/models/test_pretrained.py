import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pixelrnn import InputError, PixelRNN
from pixelrnn.models import from_pretrained, pretrained

FLIPS = int(os.environ.get("FLIPS", "60"))  # bits, in each file


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = PixelRNN(layer="row-lstm", channels=3, levels=5, hidden=3, depth=2, head=7, skip=False, size=(4, 6))
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_model_comes_back_as_it_was(tmp_path: Path) -> None:
    model = PixelRNN(layer="row-lstm", channels=3, levels=5, hidden=3, depth=2, head=7, residual=False, size=(4, 6))
    model.save_pretrained(tmp_path / "new" / "model")
    loaded = PixelRNN.from_pretrained(tmp_path / "new" / "model")
    x = torch.randint(5, (2, 3, 4, 6), dtype=torch.uint8)
    assert torch.equal(loaded.log_prob(x), model.log_prob(x))
    assert loaded.config == model.config
    assert loaded.size == (4, 6)
    assert not loaded.training
    assert sorted(p.name for p in (tmp_path / "new" / "model").iterdir()) == ["config.json", "model.safetensors"]


def test_a_model_without_a_size_comes_back(tmp_path: Path) -> None:
    PixelRNN(hidden=2).save_pretrained(str(tmp_path))
    assert PixelRNN.from_pretrained(str(tmp_path)).size is None


def test_a_corrupt_safetensors_file(saved: Path) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"model\.safetensors is damaged"):
        PixelRNN.from_pretrained(saved)
    weights.write_bytes(b"")
    with pytest.raises(InputError, match=r"model\.safetensors is damaged"):
        PixelRNN.from_pretrained(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(saved: Path, value: float) -> None:
    weights = load_file(saved / "model.safetensors")
    weights["first.weight"][0] = value
    save_file(weights, saved / "model.safetensors")
    with pytest.raises(InputError, match=r"the weights first\.weight have NaN or infinite values"):
        PixelRNN.from_pretrained(saved)


def test_weights_of_another_configuration(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"levels": 4}))
    with pytest.raises(InputError, match=r"belongs to another configuration: .* is \(.*\), expected \(.*\)"):
        PixelRNN.from_pretrained(saved)
    (saved / "config.json").write_text(json.dumps(config | {"channels": 1, "levels": 15}))
    with pytest.raises(InputError, match=r"belongs to another configuration: .* is \(.*\), expected \(.*\)"):
        PixelRNN.from_pretrained(saved)
    (saved / "config.json").write_text(json.dumps(config | {"depth": 1}))
    with pytest.raises(InputError, match=r"blocks\.1\..* is \(.*\), expected no such weight"):
        PixelRNN.from_pretrained(saved)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"levels": 5, "colour": true}', '{"size": 3}', "\x00"])
def test_a_configuration_that_is_none(saved: Path, text: str) -> None:
    (saved / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json is not the configuration of a PixelRNN"):
        PixelRNN.from_pretrained(saved)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_no_flipped_bit_loads_as_another_model(saved: Path, file: str) -> None:
    whole, model, refused = (saved / file).read_bytes(), PixelRNN.from_pretrained(saved), 0
    bits = np.random.default_rng(0).choice(8 * len(whole), FLIPS, replace=False).tolist()
    header = 8 + int.from_bytes(whole[:8], "little") if file == "model.safetensors" else 0
    for bit in [*bits, *np.random.default_rng(1).choice(8 * header, FLIPS if header else 0).tolist()]:
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        (saved / file).write_bytes(flipped)
        try:
            loaded = PixelRNN.from_pretrained(saved)
        except InputError:
            refused += 1
        else:  # the spaces that pad the header are harmless
            assert loaded.config == model.config
            assert all(map(torch.equal, loaded.state_dict().values(), model.state_dict().values()))
    assert refused > 0.9 * len(bits)


def test_the_two_files_belong_together(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"dropout": 0.5}))
    with pytest.raises(InputError, match=r"config\.json and model\.safetensors do not match their checksum"):
        PixelRNN.from_pretrained(saved)


def test_files_of_version_0_1_are_read_where_the_caller_says_so(saved: Path) -> None:
    model = PixelRNN.from_pretrained(saved)
    save_file(model.state_dict(), saved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        InputError, match=r"model\.safetensors has no checksum: .* trust it, save it again with (.*)"
    ) as error:
        PixelRNN.from_pretrained(saved)
    advice = str(error.value).rpartition("save it again with ")[2]
    exec(f"import pixelrnn.models\n{advice}")
    loaded = PixelRNN.from_pretrained(saved)
    assert all(map(torch.equal, loaded.state_dict().values(), model.state_dict().values()))


def test_the_same_model_is_the_same_file(saved: Path) -> None:
    model = PixelRNN.from_pretrained(saved)
    for n in range(8):
        model.save_pretrained(saved.parent / str(n))
        for file in ("config.json", "model.safetensors"):
            assert (saved.parent / str(n) / file).read_bytes() == (saved / file).read_bytes()


@pytest.mark.parametrize(
    "changed",
    [
        {"depth": 10**9},
        {"hidden": 10**9},
        {"channels": 30_000, "hidden": 30_000},
        {"head": 10**12},
        {"condition": 10**18},
        {"hidden": 10**4000},
        {"hidden": 1, "channels": 1, "depth": 10**6},
        {"model": "MultiScalePixelRNN", "factors": [2] * 10**5},
        {"model": "MultiScalePixelRNN", "factors": [64], "upsampled": 10**6},
        {"model": "MultiScalePixelRNN", "factors": [True]},
        {"classes": [str(n) for n in range(50_000)]},
        {"depth": True},
        {"size": [True, 6]},
        {"size": [10**400, 6]},
        {"channels": {}},
        {"model": []},
        {"model": "Module"},
    ],
)
def test_sizes_are_checked_before_anything_is_built(saved: Path, changed: dict[str, Any]) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | changed))
    resource = pytest.importorskip("resource", reason="this system does not tell the memory of a process")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"config\.json is not the configuration of a PixelRNN or a MultiScale"):
        from_pretrained(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < peak + 100_000  # KB


def test_a_long_configuration_is_refused(saved: Path) -> None:
    (saved / "config.json").write_text(" " * 2**20 + "{}")
    with pytest.raises(InputError, match=r"config\.json has 1,048,578 bytes, expected at most 1,048,576"):
        PixelRNN.from_pretrained(saved)


def test_another_thread_may_build_while_a_model_is_read(saved: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        built = [pool.submit(PixelRNN, hidden=9) for _ in range(40)]
        read = [pool.submit(PixelRNN.from_pretrained, saved) for _ in range(40)]
        assert all(future.result() for future in [*built, *read])


def test_a_value_out_of_range_names_the_file(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"levels": 1}))
    with pytest.raises(InputError, match=r"/config\.json is not the .* PixelRNN: levels must be from 2 to 256, got 1"):
        PixelRNN.from_pretrained(saved)


def test_a_run_folder_means_its_best_model(tmp_path: Path, saved: Path) -> None:
    (tmp_path / "config.yaml").touch()
    assert PixelRNN.from_pretrained(tmp_path).config == PixelRNN.from_pretrained(saved).config


@pytest.mark.parametrize("name", pretrained.SHIPPED)
def test_models_that_come_with_the_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert (pretrained.SHIPPED[name] / "model" / "model.safetensors").stat().st_size < 2.2e6
    model = from_pretrained(name)
    labels = torch.tensor([0, 1]) if model.classes else None
    samples = model.sample(2, labels=labels)
    assert samples.shape == (2, model.channels, *(model.size or ()))
    bits = -model.log_prob(samples, labels=labels).mean().item() / math.log(2) / samples[0].numel()
    assert 0.03 < bits < {2: 0.3, 256: 6}[model.levels]  # per dimension


def test_a_folder_of_ones_own_comes_first(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pretrained.SHIPPED, "model", Path("/nowhere"))
    monkeypatch.chdir(saved.parent)
    Path("mnist-class").touch()  # but no file
    assert from_pretrained("mnist-class").size == (28, 28)
    assert PixelRNN.from_pretrained("model").config["hidden"] == 3


def test_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no model in .*: config\.json is missing"):
        PixelRNN.from_pretrained(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"no model in .*none: config\.json is missing"):
        PixelRNN.from_pretrained(tmp_path / "none")  # a local name: the Hub is not asked
    with pytest.raises(
        InputError, match=r"expected a folder, one of .*mnist-class.*, or owner/name on the Hugging Face Hub"
    ):
        PixelRNN.from_pretrained("nobody/nothing")


def test_weights_of_any_memory_format_are_saved(tmp_path: Path) -> None:
    model: Any = PixelRNN(layer="pixel-cnn", levels=2, hidden=2)  # PyTorch's stubs do not know memory_format
    model.to(memory_format=torch.channels_last)
    assert not model.blocks[0].transform[1].weight.is_contiguous()
    model.save_pretrained(tmp_path)
    x = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    assert torch.equal(PixelRNN.from_pretrained(tmp_path)(x), model(x))
