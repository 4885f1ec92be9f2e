"""What is said in the place of a run: a place, a name of one where runs are kept, or ``latest``, the newest of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from raybench import cli
from raybench.store.location import Location
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


def test_the_word_is_never_a_folder_here(here: Path, capsys: Capture) -> None:
    begin(Path("data/runs"), "new", "2026-01-03T00:00:00+00:00")
    begin(here, "latest", "2026-01-01T00:00:00+00:00")
    assert cli.main(["status", "latest"]) == 0
    assert capsys.readouterr().out.startswith("new (smoke): ")
    assert cli.main(["status", "./latest"]) == 0
    assert capsys.readouterr().out.startswith("latest (smoke): ")


@pytest.mark.parametrize("command", [*COMMANDS, ["report"], ["rm", "--yes"]], ids=lambda words: words[0])
def test_a_name_is_looked_for_where_runs_are_kept(command: list[str], here: Path, capsys: Capture) -> None:
    asked = here / "elsewhere"
    asked.mkdir()
    first = [command[0], "mine", *command[1:]]
    assert cli.main([*first, "--results", "elsewhere"]) == 2
    line = "mine: no run here, nor one of that name in elsewhere; raybench runs says which there are\n"
    assert capsys.readouterr() == ("", f"raybench: {line}")
    begin(asked, "mine", "2026-01-01T00:00:00+00:00")
    begin(here, "mine", "2026-01-01T00:00:00+00:00")
    assert cli.main([*first, "--results", "elsewhere"]) == 2
    line = "mine: a run here and another in elsewhere; say which: ./mine or elsewhere/mine\n"
    assert capsys.readouterr() == ("", f"raybench: {line}")


def test_a_name_is_of_the_usual_place_or_of_another_or_of_what_is_here(here: Path, capsys: Capture) -> None:
    begin(Path("data/runs"), "usual", "2026-01-01T00:00:00+00:00")
    begin(here / "elsewhere", "another", "2026-01-01T00:00:00+00:00")
    begin(here, "beside", "2026-01-01T00:00:00+00:00")
    (here / "usual").mkdir()  # which is no run
    for words in (["usual"], ["another", "--results", "elsewhere"], ["beside"], ["beside", "--results", "."]):
        assert cli.main(["status", *words]) == 0
        assert capsys.readouterr().out.startswith(f"{words[0]} (smoke): not begun")
    assert cli.main(["status", "another"]) == 2
    assert cli.main(["rm", "another", "--results", "elsewhere", "--yes"]) == 0
    assert not (here / "elsewhere/another").exists()


def test_a_name_on_an_object_store(results: Location, capsys: Capture) -> None:
    begin(results, "mine", "2026-01-01T00:00:00+00:00")
    assert cli.main(["status", "mine", "--results", str(results)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("mine (smoke): not begun")
    assert f"raybench tables {results}/mine" in said or "--run-id mine" in said
