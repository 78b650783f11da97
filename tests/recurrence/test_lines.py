import pytest

from pixelrnn.recurrence import Lines, diagonal_lines, row_lines

SIZES = [(1, 1), (1, 5), (5, 1), (2, 2), (3, 4), (4, 3), (2, 7), (7, 2)]


def all_lines() -> list[Lines]:
    return [make(*size) for make in (row_lines, diagonal_lines) for size in SIZES]


@pytest.mark.parametrize("lines", all_lines(), ids=lambda x: f"{len(x.positions)}-{x.height}x{x.width}")
def test_every_position_is_on_one_line_and_reads_the_line_before(lines: Lines) -> None:
    for d, (scan, taps) in enumerate(zip(lines.positions, lines.taps, strict=True)):
        assert sorted(p for line in scan for p in line) == list(range(lines.height * lines.width))
        assert [len(line) for line in scan] == lines.lengths
        assert lines.order[d].tolist() == [p for line in scan for p in line]
        for t, line in enumerate(scan):
            previous = list(scan[t - 1]) if t else []
            for k, (di, dj) in enumerate(taps):
                for n, p in enumerate(line):
                    i, j = p // lines.width + di, p % lines.width + dj
                    inside = 0 <= i < lines.height and 0 <= j < lines.width
                    read = int(lines.reads[t][d, k, n])
                    assert read == (previous.index(i * lines.width + j) if inside else len(previous))


def test_the_steps_of_the_slices() -> None:
    assert row_lines(3, 5).positions[0][1] == range(5, 10)
    diagonals, mirrored = diagonal_lines(3, 5).positions
    assert list(diagonals[2]) == [2, 6, 10]
    assert diagonals[2].step == 4
    assert list(mirrored[2]) == [2, 8, 14]
    assert mirrored[2].step == 6
