import csv
from pathlib import Path

import pytest

from pixelrnn import InputError
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
    whole = (run / "metrics.csv").read_text()
    for text in (
        b"epoch,step\n1,2\n",
        b"\xff\xfe\x00",
        whole.encode() + b"3,15\n",
        whole.encode() + b"3,x,0,0,0,0,0\n",
        whole.encode() + b"3," + b"9" * 5000 + b",0,0,0,0,0\n",
    ):
        (run / "metrics.csv").write_bytes(text)
        with pytest.raises(InputError, match=r"metrics\.csv is damaged: "):
            fit(recipe(images, epochs=3), run, resume=True)
