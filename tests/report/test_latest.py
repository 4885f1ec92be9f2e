"""``latest`` in the place of a run: the newest that can be read, unless a folder here is called that."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from raybench import cli
from store.test_run_list import begin

Capture = pytest.CaptureFixture[str]
NEEDS = ["--tasks=3", "--gpu-memory=2GB", "--slo-p95=40ms", "--requests-per-second=10"]
COMMANDS = [["status"], ["tables"], ["sql"], ["decide", *NEEDS], ["compare", "latest"]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_the_newest_run_of_data_runs_and_is_named(here: Path, capsys: Capture) -> None:
    begin(Path("data/runs"), "old", "2026-01-01T00:00:00+00:00")
    begin(Path("data/runs"), "new", "2026-01-03T00:00:00+00:00", "another")
    assert cli.main(["status", "latest"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("new (another): not begun")
    assert said.err == "raybench: latest is data/runs/new\n"
    assert "raybench tables data/runs/new" in said.out or "--run-id new" in said.out


def test_it_is_looked_for_where_results_says(here: Path, capsys: Capture) -> None:
    begin(here / "elsewhere", "mine", "2026-01-01T00:00:00+00:00")
    assert cli.main(["status", "latest", "--results", "elsewhere"]) == 0
    assert capsys.readouterr().err == "raybench: latest is elsewhere/mine\n"


def test_what_cannot_be_read_is_passed_over_and_named(here: Path, capsys: Capture) -> None:
    begin(Path("data/runs"), "mine", "2026-01-01T00:00:00+00:00")
    (here / "data/runs/torn").mkdir()
    (here / "data/runs/torn/run.json").write_text("{")
    assert cli.main(["status", "latest"]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"raybench: Not looked at for the newest run: {here}/data/runs/torn/run.json: ")
    assert second == "raybench: latest is data/runs/mine"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_where_there_is_no_run_it_is_one_line(command: list[str], here: Path, capsys: Capture) -> None:
    assert cli.main([command[0], "latest", *command[1:]]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "",
        "raybench: latest: no run in data/runs; name a run's own folder or URI, or by --results where runs are\n",
    )


def test_a_folder_of_that_name_is_meant_before(here: Path, capsys: Capture) -> None:
    begin(Path("data/runs"), "new", "2026-01-03T00:00:00+00:00")
    begin(here, "latest", "2026-01-01T00:00:00+00:00")
    assert cli.main(["status", "latest"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("latest (smoke): ")
    assert said.err == ""
    shutil.rmtree(here / "latest")
    assert cli.main(["status", "./latest"]) == 2  # a path, and no word
    assert capsys.readouterr().err.startswith("raybench: latest: no run here")
