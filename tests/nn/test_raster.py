import torch

from pixelrnn.nn.raster import by_position, is_by_position, to_map, to_positions


def test_positions_are_in_raster_order() -> None:
    maps = torch.randn(2, 6, 3, 4)
    positions = to_positions("x", maps, 6)
    assert positions.shape == (12, 2, 6)
    for p in range(12):
        assert torch.equal(positions[p], maps[:, :, p // 4, p % 4])
    assert torch.equal(to_map(positions, like=maps), maps)


def test_a_map_stored_by_position_is_a_view_of_its_positions_and_stays_so() -> None:
    maps = torch.randn(2, 6, 3, 4)
    stored = by_position(maps)
    assert torch.equal(stored, maps)
    assert not is_by_position(maps)
    assert is_by_position(stored)
    assert is_by_position(stored.relu() + stored)
    assert to_positions("x", stored, 6).data_ptr() == stored.data_ptr()
