import pytest
import torch

from pixelrnn import PixelRNN
from pixelrnn.bench import naive
from pixelrnn.nn import LayerKind


@pytest.mark.parametrize("layer", ["diagonal-bilstm", "row-lstm"])
@pytest.mark.parametrize("sliced", [True, False])
@pytest.mark.parametrize("size", [(5, 3), (1, 4), (4, 1)])
def test_equals_the_model(layer: LayerKind, sliced: bool, size: tuple[int, int]) -> None:
    model = PixelRNN(layer=layer, channels=2, levels=3, hidden=4, depth=2).double()
    x = torch.rand(2, 2, *size, dtype=torch.double)
    torch.testing.assert_close(naive.logits(model, x, sliced=sliced), model.logits(x), rtol=0, atol=1e-12)
