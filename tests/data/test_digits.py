from pixelrnn.data import digits


def test_the_embedded_digits() -> None:
    raw = digits.load()
    assert raw.levels == 17
    assert raw.splits["train"].pixels.shape == (1797, 1, 8, 8)
    assert raw.splits["train"].pixels.max() == 16
