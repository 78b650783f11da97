import pytest

from pixelrnn import InputError
from pixelrnn.bench import Task, Together, measure_together, table_together
from pixelrnn.cli import main


def test_the_table_compares_numbers_of_processes() -> None:
    task = Task(side=8, batch=16)
    lines = table_together([Together(task, 1, 4, 0.008, 250_000), Together(task, 2, 2, 0.004, 250_000)]).splitlines()
    assert lines[0].startswith("batch 16: processes")
    assert [line.split() for line in lines[1:]] == [
        ["1", "4", "2000", "8.0", "1.00", "1.00"],
        ["2", "2", "4000", "4.0", "2.00", "1.00"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_bad_input_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="processes must be from 1 to 2, got 3"):
        measure_together(Task(batch=2), [1, 3])
    assert main(["bench", "--processes", "1", "--out", "a.png"]) == 1
    assert capsys.readouterr().err == "pixelrnn: --processes draws no plot: pass either --processes or --out\n"


@pytest.mark.slow  # three processes that import PyTorch
def test_steps_are_timed() -> None:
    task = Task(side=4, hidden=2, batch=3)
    one, two = measure_together(task, (1, 2), rounds=1)
    assert (one.processes, two.processes) == (1, 2)
    assert min(one.seconds, two.seconds) > 0
    assert one.weights == two.weights == sum(weight.numel() for weight in task.model().parameters())
