import torch

from pixelrnn.nn.raster import to_map, to_positions


def test_positions_are_in_raster_order_and_directions_apart() -> None:
    maps = torch.randn(2, 6, 3, 4)
    positions = to_positions(maps, 2)
    assert positions.shape == (2, 12, 2, 3)
    for d in range(2):
        for p in range(12):
            assert torch.equal(positions[d, p], maps[:, 3 * d : 3 * d + 3, p // 4, p % 4])
        assert torch.equal(to_map(positions[d], 3, 4), maps[:, 3 * d : 3 * d + 3])
