"""How far a run is, told from its results alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fake_device import FakeDevice
from raybench import cli
from raybench.analysis.tables import Tables, write_views
from raybench.cluster.agenda import Agenda
from raybench.deploy.strategies import all_traits
from raybench.plan.plan import Plan
from raybench.records import FailureKind
from raybench.store.store import RunStore
from raybench.sweep import status
from raybench.sweep.describe import describe
from raybench.sweep.live import Live
from raybench.sweep.recorder import Recorder
from raybench.visit.messages import Died
from raybench.visit.visit import run_visit
from runs import MODEL, job_of, measure

MS = 1_000_000
Known = Callable[..., None]
LoadPlan = Callable[..., Plan]


def constant(ms: float) -> Callable[..., tuple]:
    return lambda tokens, calls: (MS, int(ms * MS), None)


@pytest.fixture(autouse=True)
def known(known_latencies: Known) -> None:
    known_latencies({name: constant(4) for name in ("full_ft", "lora_separate", "lora_merged", "multi_lora")})


def begin(plan: Plan, results: Path, visits: int, lost: int = 0) -> RunStore:
    """A run with its first visits committed, after ``lost`` attempts at the first."""
    job = job_of(plan)
    store = RunStore.create(results, "run", describe("run", plan, job.workload, MODEL, [], all_traits()))
    write_views(store.root)
    agenda, recorder = Agenda(job), Recorder(store, interval_s=0.0)
    for i in range(visits):
        spec = agenda.next()
        assert spec is not None
        for attempt in range(lost if i == 0 else 0):
            again = dataclasses.replace(spec, visit=f"{spec.visit}+{attempt}", attempt=attempt)
            recorder.add(again, Died(None, "worker_lost", "gone", "a", "GPU-0"))
        for message in run_visit(spec, FakeDevice(), lambda index: None):
            recorder.add(spec, message)
    recorder.commit()
    return store


def test_a_run_in_its_midst(load_plan: LoadPlan, tmp_path: Path) -> None:
    plan = load_plan(rounds=3)
    blocks = len(plan.blocks)
    with begin(plan, tmp_path, blocks, lost=2) as store:
        now = max(entry.committed_at for entry in store.entries())
        times = iter([now - timedelta(minutes=30), now])
        live = Live(store, now=lambda: next(times))
        busy = {
            "state": "busy",
            "host": "a",
            "device": "GPU-0",
            "device_name": "NVIDIA L4",
            "visit": "x/1",
            "for_s": 61,
        }
        live.beat([busy, {"state": "starting"}], 2 * blocks - 1)
        found = status.read(store.root, now + timedelta(seconds=10))
    assert (found.state, found.silent_s) == ("running", pytest.approx(10, abs=1))
    assert (found.visits_done, found.visits_planned, found.visits_waiting) == (blocks, 3 * blocks, 2 * blocks - 1)
    assert (found.configurations_complete, found.configurations) == (0, len(plan.configurations))
    assert (found.lost_attempts, found.failed) == (2, ())
    assert found.visits_per_hour == pytest.approx(2 * blocks, rel=0.01)
    assert found.left_s == pytest.approx(3600, rel=0.01)
    lines = status._lines(found, Path("runs/run"))
    assert f"{blocks} of {3 * blocks} done, 1 running, {2 * blocks - 1} waiting; 2 attempts lost." in lines[1]
    assert any("NVIDIA L4 on a: x/1 for 1 min 1 s" in line for line in lines)
    assert any("about 1 h 0 min left" in line or "about 59 min" in line for line in lines)


def test_a_driver_that_says_nothing_more_is_taken_for_gone(load_plan: LoadPlan, tmp_path: Path) -> None:
    with begin(load_plan(rounds=3), tmp_path, 1) as store:
        Live(store).beat([{"state": "idle"}], 5)
        found = status.read(store.root, datetime.now(UTC) + timedelta(seconds=61))
    assert (found.state, found.visits_waiting, found.workers, found.ends_at) == ("silent", 0, (), None)
    assert "--resume" in status._lines(found, Path("runs/run"))[-1]


def test_what_is_complete_and_what_failed_agree_with_the_tables(
    known_latencies: Known, load_plan: LoadPlan, tmp_path: Path
) -> None:
    def fails(tokens: int, calls: int) -> tuple[int, int, None]:
        raise RuntimeError("device on fire")

    known_latencies(
        {"full_ft": constant(4), "lora_separate": constant(5), "lora_merged": fails, "multi_lora": constant(5)}
    )
    root = measure(load_plan(rounds=2), tmp_path)
    found = status.read(root)
    rows = Tables(root).rows("FROM completeness")
    assert found.configurations_complete == sum(row["complete"] for row in rows)
    assert found.failed == tuple((row["configuration"], row["failure"]) for row in rows if not row["complete"])
    assert len(found.failed) == 2
    assert all(".py:" in reason for _, reason in found.failed)  # kept, and not shown
    shown = [line for line in status._lines(found, Path("runs/run")) if line.startswith("  ")]
    assert shown == [
        *(f"  {name}: error: RuntimeError: device on fire" for name, _ in found.failed),
        "  All of it: raybench sql runs/run 'FROM failures'",
    ]
    assert (found.state, found.visits_per_hour) == ("not begun", None)
    assert not found.resumable


@pytest.mark.parametrize(
    ("kind", "visits", "resumable"),
    [
        ("error", "all", False),  # what failed is not tried again, and all else is measured
        ("error", "some", True),
        ("killed", "all", False),  # its visits are committed without it
        ("killed", "some", True),
    ],
)
def test_resume_is_advised_only_where_it_would_measure_something(
    load_plan: LoadPlan, tmp_path: Path, kind: FailureKind, visits: str, resumable: bool
) -> None:
    plan = load_plan(rounds=2)
    with begin(plan, tmp_path, 2 * len(plan.blocks) if visits == "all" else 4) as store:
        spec = Agenda(job_of(plan)).next()
        assert spec is not None
        recorder = Recorder(store)
        recorder.fail(spec, plan.configurations[0].name, kind, "no luck")
        recorder.commit()
        Live(store).end("incomplete")
        found = status.read(store.root)
    assert found.resumable == resumable
    last = status._lines(found, Path("my runs/run"))[-1]
    assert ("--run-id run --resume" in last) == resumable
    assert ("raybench tables 'my runs/run'" in last) != resumable


def test_where_all_failed_a_new_run_is_advised(
    known_latencies: Known, load_plan: LoadPlan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(tokens: int, calls: int) -> tuple[int, int, None]:
        raise RuntimeError("no luck")

    known_latencies(dict.fromkeys(("full_ft", "lora_separate", "lora_merged", "multi_lora"), fails))
    root = measure(load_plan(rounds=2), tmp_path)
    with RunStore.resume(root) as store:
        Live(store).end("incomplete")
    assert cli.main(["status", str(root)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("--resume would measure nothing more: what failed is not tried again. Mend the cause")
    assert last.endswith(f"raybench tables {root}")


def test_a_run_s_name_is_quoted_for_the_shell(load_plan: LoadPlan, tmp_path: Path) -> None:
    with begin(load_plan(rounds=2), tmp_path, 1) as store:
        found = dataclasses.replace(status.read(store.root), run_id="x; rm -rf ~ \x1b[31m")
    assert status._lines(found, store.root)[-1].endswith("--run-id $'x; rm -rf ~ \\033[31m' --resume")


def test_a_run_until_its_intervals_are_narrow_planned_what_it_began(load_plan: LoadPlan, tmp_path: Path) -> None:
    plan = dataclasses.replace(load_plan(rounds=30), until_halfwidth=0.01)
    blocks = len(plan.blocks)
    with begin(plan, tmp_path, 2 * blocks) as store:
        live = Live(store)
        live.beat([], 0)
        running = status.read(store.root)
        assert running.configurations_complete == 0
        assert "at most" in status._lines(running, Path("r"))[1]
        live.end("complete")
        found = status.read(store.root)
    assert found.configurations_complete == len(plan.configurations)
    assert (found.state, found.visits_planned) == ("complete", 30 * blocks)
    assert status._lines(found, Path("runs/run"))[-1] == "Its tables: raybench tables runs/run"


def test_the_command(load_plan: LoadPlan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with begin(load_plan(rounds=2), tmp_path, 1) as store:
        Live(store).beat([], 3)
    assert cli.main(["status", str(store.root)]) == 0
    assert capsys.readouterr().out.startswith("run (")
    assert cli.main(["status", str(store.root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["visits_done"], found["visits_waiting"]) == ("running", 1, 3)
    assert cli.main(["status", str(tmp_path)]) == 2
    assert "no run here" in capsys.readouterr().err
    for deep in ("live.json", "run.json"):
        kept = (store.root / deep).read_text()
        (store.root / deep).chmod(0o644)
        (store.root / deep).write_text("[" * 100_000)
        assert cli.main(["status", str(store.root)]) == 1
        assert "damaged JSON" in capsys.readouterr().err
        (store.root / deep).write_text(kept)
    description = json.loads(kept)
    for strange in ({**description, "plan": "none"}, {k: v for k, v in description.items() if k != "plan"}):
        (store.root / "run.json").write_text(json.dumps(strange))
        assert cli.main(["status", str(store.root)]) == 1
        assert "run.json: plan: " in capsys.readouterr().err
    (store.root / "run.json").write_text(kept)
    (store.root / "live.json").write_text("{")
    assert cli.main(["status", str(store.root)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
