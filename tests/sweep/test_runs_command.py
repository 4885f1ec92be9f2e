"""Which runs there are: how far each is, its verdicts where a sweep has made them, and what cannot be read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fake_device import uneven
from raybench import cli
from raybench.analysis.kept_tables import kept_table
from raybench.analysis.tables import Tables, write_derived
from raybench.plan.plan import Plan
from raybench.store.location import Location
from raybench.store.store import RunStore
from raybench.sweep.live import Live
from raybench.sweep.runs_command import read_runs
from runs import measure
from store.stored_runs import Hands
from store.test_run_list import begin

MS = 1_000_000
Capture = pytest.CaptureFixture[str]
LoadPlan = Callable[..., Plan]
COSTS = {"full_ft": 4, "lora_separate": 5, "lora_merged": 4.02, "multi_lora": 5.5}


def constant(ms: float) -> Callable[..., tuple]:
    return uneven(lambda tokens, calls: (round(ms * MS), round(ms * MS), None))


@pytest.fixture(autouse=True)
def known(known_latencies: Callable[..., None]) -> None:
    known_latencies({name: constant(ms) for name, ms in COSTS.items()})


def ended(plan: Plan, results: Location, run_id: str) -> Location:
    """A run whose sweep ended by itself."""
    root = measure(plan, results, run_id)
    with RunStore.resume(root) as store:
        Live(store).end("complete")
    write_derived(Tables(root))
    return root


def test_each_run_is_a_line_newest_first(results: Location, load_plan: LoadPlan) -> None:
    root = ended(load_plan(rounds=3), results, "whole")
    begin(results, "old", "2026-01-01T00:00:00+00:00")
    whole, old = read_runs(results)
    assert (whole.run_id, whole.root, whole.plan, whole.model, whole.state) == (
        "whole",
        root,
        "small",
        "micro",
        "complete",
    )
    assert (whole.visits_done, whole.visits_planned, whole.at_most) == (9, 9, False)
    rows = Tables(root).rows("FROM by_strategy WHERE clock = 'wall' AND verdict IS NOT NULL")
    assert any(row["claim"] for row in rows)
    pairs = {frozenset((row["deployment"], row["reference_deployment"])): row["verdict"] for row in rows[::-1]}
    assert len(pairs) == len(rows) - 1  # full_ft and lora_separate stand against each other
    said = list(pairs.values())
    assert whole.verdicts == {verdict: said.count(verdict) for verdict in set(said)}
    assert {"slower", "equivalent"} <= set(said)
    assert (old.state, old.visits_done, old.verdicts) == ("not begun", 0, None)
    assert old.begun_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_verdicts_of_a_run_that_is_measured_further_are_not_those_of_before(
    tmp_path: Path, load_plan: LoadPlan
) -> None:
    root = ended(load_plan(rounds=3), tmp_path, "run")
    with RunStore.resume(root) as store:
        Live(store).beat([], 0)
    now = datetime.now(UTC)
    assert [(run.state, run.verdicts) for run in read_runs(tmp_path, now)] == [("running", None)]
    assert [run.state for run in read_runs(tmp_path, now + timedelta(minutes=2))] == ["silent"]


def test_a_run_of_one_round_has_no_verdicts(tmp_path: Path, load_plan: LoadPlan, capsys: Capture) -> None:
    ended(load_plan(rounds=1), tmp_path, "short")
    (run,) = read_runs(tmp_path)
    assert (run.verdicts, run.too_short) == (None, True)
    assert cli.main(["runs", "--results", str(tmp_path)]) == 0
    assert "none: one round" in capsys.readouterr().out


def test_tables_that_are_not_as_they_were_written_are_none(results: Location, load_plan: LoadPlan) -> None:
    root = ended(load_plan(rounds=3), results, "run")
    assert kept_table(root, "nonsense") is None
    assert kept_table(results / "nowhere", "by_strategy") is None
    manifest = json.loads(Hands(root).read("tables/manifest.json"))
    for wrong in (
        b"{",
        b"[" * 100_000,
        b"[]",
        b'{"files": [7]}',
        b'{"files": [{"path": "tables/by_strategy.parquet"}]}',
    ):
        Hands(root).write("tables/manifest.json", wrong)
        assert kept_table(root, "by_strategy") is None
    Hands(root).write("tables/manifest.json", json.dumps(manifest).encode())
    assert kept_table(root, "by_strategy").equals(Tables(root).derived["by_strategy"])
    Hands(root).write("tables/by_strategy.parquet", b"\x00" + Hands(root).read("tables/by_strategy.parquet")[1:])
    assert [run.verdicts for run in read_runs(results)] == [None]


def test_what_cannot_be_read_is_a_line_too(tmp_path: Path, load_plan: LoadPlan, capsys: Capture) -> None:
    ended(load_plan(rounds=3), tmp_path, "good")
    for name in ("torn", "no-entries", "odd-live"):
        begin(tmp_path, name, "2026-01-01T00:00:00+00:00")
    (tmp_path / "torn/run.json").chmod(0o644)
    (tmp_path / "torn/run.json").write_text("{")
    (tmp_path / "no-entries/manifest").rmdir()
    (tmp_path / "odd-live/live.json").write_text("[]")
    (tmp_path / "no run").mkdir()
    assert cli.main(["runs", "--results", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    shown = {line.split()[0]: line for line in lines if line.strip()}
    assert "complete" in shown["good"]
    assert "9 of 9" in shown["good"]
    assert [line.split()[:2] for line in lines if "cannot be read: " in line] == [
        ["odd-live", "cannot"],
        ["no-entries", "cannot"],
        ["torn", "cannot"],
    ]
    assert "no run" not in said.out
    assert cli.main(["runs", "--results", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["state"] for run in found] == ["complete", "unreadable", "unreadable", "unreadable"]
    assert [run["problem"] is None for run in found] == [True, False, False, False]
    assert found[0]["begun_at"] is not None


def test_where_there_are_none_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["runs"]) == 0
    assert capsys.readouterr().out == "data/runs: no runs; raybench sweep makes one, --results names another place\n"
    assert cli.main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_of_a_run_until_its_intervals_are_narrow_at_most_so_many_visits_are_planned(
    tmp_path: Path, load_plan: LoadPlan, capsys: Capture
) -> None:
    measure(dataclasses.replace(load_plan(rounds=30), until_halfwidth=0.01), tmp_path, visits=3)
    assert cli.main(["runs", "--results", str(tmp_path)]) == 0
    assert "3 of at most 90" in capsys.readouterr().out


def test_a_run_says_how_many_configurations_failed(
    known_latencies: Callable[..., None], tmp_path: Path, load_plan: LoadPlan, capsys: Capture
) -> None:
    def broken(tokens: int, calls: int) -> tuple[int, int, None]:
        raise RuntimeError("no luck")

    known_latencies({"lora_merged": broken})
    root = measure(load_plan(rounds=3), tmp_path, "run")
    with RunStore.resume(root) as store:
        Live(store).end("incomplete")
    assert [(run.state, run.failed) for run in read_runs(tmp_path)] == [("incomplete", 2)]
    assert cli.main(["runs", "--results", str(tmp_path)]) == 0
    assert " incomplete, 2 failed " in capsys.readouterr().out
