"""What --resume says of the runs that it passes over, where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from raybench.sweep import command
from store.test_run_list import begin


def test_the_command_says_what_was_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn/run.json").write_text("{")
    sweep = ["--plan", "smoke", "--results", str(tmp_path), "--resume"]
    assert command.main(sweep) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}: no run of plan smoke to resume; name one by --run-id; Not looked at" in said
    begin(tmp_path, "a-mine", "2026-01-02T00:00:00+00:00")
    assert command.main(sweep) == 2
    assert f"{tmp_path}/a-mine: cannot be resumed" in capsys.readouterr().err
