from pixelrnn.explain import mirror


def test_what_each_direction_sees() -> None:
    i, j = mirror.AT
    pixels = [(a, b) for a in range(mirror.SIZE[0]) for b in range(mirror.SIZE[1])]

    def seen(directions: tuple[int, ...], at: tuple[int, int]) -> set[tuple[int, int]]:
        return {*zip(*(k.tolist() for k in mirror.sees(directions, at).nonzero()), strict=True)}

    assert seen((0,), (i, j)) == {(a, b) for a, b in pixels if a <= i and b <= j}
    assert seen((1,), (i, j)) == {(a, b) for a, b in pixels if a < i and b >= j}
    assert seen((0, 1), (i, j)) == {p for p in pixels if p <= (i, j)}
    # What the second direction computed at (i, j), before the shift, has seen later pixels.
    assert seen((1,), (i + 1, j)) == {(a, b) for a, b in pixels if a <= i and b >= j}
    assert seen((), (i, j)) == set()
