import pytest

from benchmarks import sampling


def test_all_samplers_draw_the_same() -> None:
    sampling.check_equality()


def test_every_way_to_draw_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "ROUNDS", 1)
    times = sampling.against_naive(1, 2, n=2, side=3)
    assert set(times) == {"incremental", "in PyTorch", "one forward pass", "ours, naive", "the usual one"}
    assert all(t > 0 for t in times.values())
    assert sampling.in_colour("row-lstm", n=1, side=2) > 0


def test_the_table_has_a_line_for_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "BATCHES", (1, 2))
    monkeypatch.setattr(sampling, "SIDES", (2, 3))
    head, *lines = sampling.over_batch_and_side().splitlines()
    assert "2×2" in head
    assert [line.split()[1] for line in lines] == ["1", "2"]


@pytest.mark.slow  # starts a process to measure its memory
def test_memory() -> None:
    assert sampling.memory_of("forward") > 0
