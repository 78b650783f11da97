from pixelrnn.data import digits


def test_the_embedded_digits() -> None:
    raw = digits.load()
    assert raw.levels == 17
    assert raw.splits["train"].pixels.shape == (1797, 1, 8, 8)
    assert raw.splits["train"].pixels.max() == 16
    assert raw.classes == [*"0123456789"]
    labels = raw.splits["train"].labels
    assert labels is not None
    assert labels[:10].tolist() == [*range(10)]
