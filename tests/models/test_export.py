"""The logits of a model as an ONNX file, run by onnxruntime."""

import warnings
from pathlib import Path

import pytest
import torch

from pixelrnn import MultiScalePixelRNN, PixelRNN
from pixelrnn.models import ImageModel
from pixelrnn.ops import backend

pytestmark = pytest.mark.slow  # PyTorch takes seconds to export a network

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

MODELS = {
    "diagonal": PixelRNN(levels=2, hidden=2, size=(3, 2)),
    "row": PixelRNN(layer="row-lstm", channels=3, levels=4, hidden=3, size=(2, 3), classes=["cat", "dog"]),
    "scales": MultiScalePixelRNN(factors=(2,), layer="pixel-cnn", levels=2, hidden=2, size=(2, 2)),
}


# docs: begin export
class Logits(torch.nn.Module):
    """A model with plain arguments, as the exporter wants them."""

    def __init__(self, model: ImageModel) -> None:
        super().__init__()
        self.model = model.eval()

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        return self.model(x, labels=labels)


def export(model: ImageModel, path: Path, x: torch.Tensor, *labels: torch.Tensor) -> None:
    """Writes the logits of images like x, uint8 (B, C, H, W), of any B, as an ONNX file."""
    given = (x, *labels)  # labels only if the model has classes
    shapes = tuple({0: torch.export.Dim.DYNAMIC} for _ in given)
    with backend("reference"), torch.no_grad():  # plain PyTorch operations, which ONNX knows
        program = torch.onnx.export(Logits(model), given, dynamic_shapes=shapes, dynamo=True)
    assert program is not None
    program.save(path)
    # docs: end export


@pytest.mark.usefixtures("as_a_user")  # the shape checks know no symbolic sizes
@pytest.mark.parametrize("kind", MODELS)
def test_onnxruntime_computes_the_logits_of_any_batch(kind: str, tmp_path: Path) -> None:
    model, path = MODELS[kind], tmp_path / "model.onnx"
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    size = model.size or ()

    def images(n: int) -> dict[str, torch.Tensor]:
        x = torch.randint(model.levels, (n, model.channels, *size), dtype=torch.uint8)
        return {"x": x, "labels": torch.arange(n) % 2} if model.classes else {"x": x}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the libraries
        export(model, path, *images(2).values())
    session = onnxruntime.InferenceSession(path)
    for n in (1, 2, 5):
        given = images(n)
        (logits,) = session.run(None, {name: value.numpy() for name, value in given.items()})
        torch.testing.assert_close(torch.tensor(logits), model(**given), rtol=1e-5, atol=1e-5)
