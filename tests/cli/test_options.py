"""Options that commands share."""

from pathlib import Path

import pytest

from tests.cli.checks import fails


@pytest.mark.parametrize("command", [["sample"], ["evaluate"], ["explain", "context", "--model"], ["demo"], ["push"]])
def test_a_run_without_a_finished_epoch_says_how_to_go_on(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("early/checkpoints").mkdir(parents=True)
    Path("early/config.yaml").write_text("data: {source: digits}")
    command = [*command, "early", *(["owner/name"] if command == ["push"] else [])]
    again = r"`pixelrnn train early/config\.yaml --run early`"
    wanted = "early has no model yet, its first epoch has not ended: wait for it, or continue a stopped run with "
    fails(capsys, command, wanted + again)
    Path("early/checkpoints/last.ckpt").touch()
    fails(capsys, command, wanted + "`pixelrnn train --resume early`")
