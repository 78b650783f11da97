import csv
from pathlib import Path

from benchmarks.trials import LOG, TRIALS, record


def test_the_log_is_of_these_trials() -> None:
    with LOG.open(newline="", encoding="utf-8") as file:
        assert {row["trial"] for row in csv.DictReader(file)} == set(TRIALS)


def test_the_log_takes_new_curves_and_keeps_others(tmp_path: Path) -> None:
    log = tmp_path / "trials.csv"

    def trial(folder: str, name: str, *rows: str) -> Path:
        run = tmp_path / folder / name
        run.mkdir(parents=True, exist_ok=True)
        (run / "metrics.csv").write_text("\n".join(["epoch,valid_nats", *rows]) + "\n")
        return tmp_path / folder

    record(trial("here", "b", "1,90"), log)
    assert log.read_text() == "trial,epoch,valid_nats\nb,1,90\n"
    trial("there", "b", "1,90", "2,85")
    record(trial("there", "a", "1,99"), log)
    record(tmp_path / "empty", log)
    assert log.read_text() == "trial,epoch,valid_nats\na,1,99\nb,1,90\nb,2,85\n"
