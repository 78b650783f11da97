from pixelrnn.explain import step
from pixelrnn.nn import DiagonalBiLSTM, RowLSTM


def test_the_shapes_are_those_of_the_layers() -> None:
    assert step.record(RowLSTM(64, 32), 3) == {
        "x": (16, 64, 28, 28),
        "Kis ⊛ x": (16, 128, 28, 28),
        "h₋": (1, 3, 28, 16, 32),
        "Kss": (1, 3, 32, 128),
        "Kss ⊛ h₋": (1, 28, 16, 128),
        "sum": (1, 28, 16, 128),
        "gate": (1, 28, 16, 32),
    }
    for t, pixels in [(0, 1), (14, 15), (27, 28), (40, 15), (54, 1)]:
        diagonal = step.record(DiagonalBiLSTM(64, 32), t)
        assert diagonal["h₋"] == (2, 2, pixels, 16, 32)
        assert diagonal["gate"] == (2, pixels, 16, 32)
