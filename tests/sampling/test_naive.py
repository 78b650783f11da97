import torch
from torch import Tensor

from pixelrnn import PixelRNN
from pixelrnn.likelihood import draw
from pixelrnn.randomness import Noise
from pixelrnn.sampling import naive


def test_equals_the_whole_network_at_every_sub_pixel() -> None:
    model = PixelRNN(channels=3, levels=4, hidden=3)
    x = torch.randint(4, (3, 3, 3, 2), dtype=torch.uint8)
    known = torch.rand(3, 3, 2) < 0.3
    got = naive.complete(model, x, known, generator=torch.Generator().manual_seed(0))

    noise = Noise(3, generator=torch.Generator().manual_seed(0), device=x.device)
    uniform = [noise.row(2, 3) for _ in range(3)]  # (W, C, B) for each row
    expected = x * known[:, None]
    for i in range(3):
        for j in range(2):
            for c in range(3):
                drawn = draw(model(expected)[:, :, c, i, j], uniform[i][j, c])  # the rows below are not cut off
                expected[:, c, i, j] = torch.where(known[:, i, j], x[:, c, i, j], drawn)
    assert torch.equal(got, expected)


def test_known_pixels_cost_no_pass() -> None:
    passes: list[torch.Size] = []

    def uniform(x: Tensor) -> Tensor:
        passes.append(x.shape)
        return torch.zeros(x.shape[0], 4, *x.shape[1:])

    known = torch.ones(2, 3, 3, dtype=torch.bool)
    known[0, 1, 1] = False
    x = torch.zeros(2, 1, 3, 3, dtype=torch.uint8)
    naive.complete(uniform, x, known)
    assert passes == [(2, 1, 2, 3)]
    assert not x.any()  # the input stays unchanged
