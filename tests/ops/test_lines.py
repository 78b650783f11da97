import pytest
import torch

from pixelrnn.ops.lines import Lines, diagonal_lines, row_lines

SIZES = [(1, 1), (1, 5), (5, 1), (2, 2), (3, 4), (4, 3), (2, 7), (7, 2)]


def all_lines() -> list[Lines]:
    return [make(*size) for make in (row_lines, diagonal_lines) for size in SIZES]


@pytest.mark.parametrize("lines", all_lines(), ids=lambda x: f"{len(x.positions)}-{x.height}x{x.width}")
def test_every_position_is_on_one_line_and_reads_the_line_before(lines: Lines) -> None:
    for scan, taps in zip(lines.positions, lines.taps, strict=True):
        assert sorted(p for line in scan for p in line) == list(range(lines.height * lines.width))
        assert [len(line) for line in scan] == lines.lengths
        for t, line in enumerate(scan):
            # A tap lies a fixed shift of places away, on the line before.
            previous = dict(enumerate(scan[t - 1], lines.first[t - 1])) if t else {}
            for shift, (di, dj) in zip(lines.shifts, taps, strict=True):
                for place, p in enumerate(line, lines.first[t]):
                    i, j = p // lines.width + di, p % lines.width + dj
                    inside = 0 <= i < lines.height and 0 <= j < lines.width
                    assert previous.get(place + shift) == (i * lines.width + j if inside else None)


@pytest.mark.parametrize("offset", [(0, 0), (0, -1), (-1, 1), (1, 0), (5, 0)])
def test_neighbours(offset: tuple[int, int]) -> None:
    lines = row_lines(3, 4)
    states, outside = torch.randn(12, 2, 5), torch.randn(5)
    found = lines.neighbours(states, offset, outside)
    for p in range(12):
        i, j = p // 4 + offset[0], p % 4 + offset[1]
        inside = 0 <= i < 3 and 0 <= j < 4
        assert torch.equal(found[p], states[i * 4 + j] if inside else outside.expand(2, 5))


def test_the_steps_of_the_slices() -> None:
    assert row_lines(3, 5).positions[0][1] == range(5, 10)
    diagonals, mirrored = diagonal_lines(3, 5).positions
    assert list(diagonals[2]) == [2, 6, 10]
    assert diagonals[2].step == 4
    assert list(mirrored[2]) == [2, 8, 14]
    assert mirrored[2].step == 6
