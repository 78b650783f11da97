"""Options of short runs, and a check of commands that must fail."""

import re
from collections.abc import Sequence

import pytest

from pixelrnn.cli import main

SHORT = ["--train.batch", "256", "--train.sample-every", "0", "--train.epochs"]
TINY = ["--model.hidden", "2", *SHORT, "1"]


def fails(capsys: pytest.CaptureFixture[str], tokens: Sequence[str], message: str, status: int = 1) -> None:
    """Asserts that a command fails with this status and prints only one line, on standard error."""
    capsys.readouterr()
    assert main(tokens) == status
    output = capsys.readouterr()
    assert output.out == ""
    assert re.fullmatch(rf"pixelrnn: .*{message}.*\n", output.err), output.err
