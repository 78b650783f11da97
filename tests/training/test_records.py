import csv
from pathlib import Path

from pixelrnn.data import DataConfig
from pixelrnn.training.fit import fit
from tests.training.runs import recipe, rows


def test_rows_of_an_epoch_that_is_repeated_are_replaced(tmp_path: Path, images: DataConfig) -> None:
    run = tmp_path / "run"
    fit(recipe(images, epochs=1), run)
    with (run / "metrics.csv").open("a") as file:
        file.write("2,10,0,0,0,0,0\n")  # killed between this and the checkpoint
    fit(recipe(images, epochs=2), run, resume=True)
    assert [row["epoch"] for row in rows(run)] == ["1", "2"]
    assert float(rows(run)[1]["valid_nats"]) > 0
    with (run / "metrics.csv").open(newline="") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    assert seconds == sorted(seconds)


def test_a_damaged_file_of_metrics_is_written_anew(tmp_path: Path, images: DataConfig) -> None:
    run = tmp_path / "run"
    fit(recipe(images, epochs=1), run)
    whole = (run / "metrics.csv").read_bytes()
    for epochs, text in enumerate((b"epoch,step\n1,2\n", b"\xff\xfe\x00", b"", whole.replace(b"1", b"3")), start=2):
        (run / "metrics.csv").write_bytes(text)
        fit(recipe(images, epochs=epochs), run, resume=True)
        assert (run / "metrics.csv").read_bytes().startswith(whole)
        assert len(rows(run)) == epochs
