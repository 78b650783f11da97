"""The lists of the models and recipes that come with the package."""

import pytest

from pixelrnn.cli import main
from pixelrnn.models.pretrained import SHIPPED as MODELS
from pixelrnn.training.recipe import SHIPPED as RECIPES


def listed(command: str, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert main([command]) == 0
    output = capsys.readouterr().out
    assert "MIT license" in output
    return {line.split()[0]: line for line in output.split("\n\n")[0].splitlines()[1:]}


def test_every_model_is_listed_with_its_size_and_score(capsys: pytest.CaptureFixture[str]) -> None:
    lines = listed("models", capsys)
    assert lines.keys() == MODELS.keys()
    for part in ("diagonal-bilstm 1×32", "binarized-mnist, 28×28, 2 levels", "45,249", "80.71", "0.149"):
        assert part in lines["mnist-diagonal-1x32"]


def test_every_recipe_is_listed_with_its_subject(capsys: pytest.CaptureFixture[str]) -> None:
    lines = listed("recipes", capsys)
    assert lines.keys() == RECIPES.keys()
    for part in ("The paper's smaller model of static binarized MNIST", "diagonal-bilstm 1×32", "40", "80.71"):
        assert part in lines["mnist-diagonal-1x32"]
    assert "8 orders" in lines["mnist-orders"]
    assert lines["digits"].endswith("–")
