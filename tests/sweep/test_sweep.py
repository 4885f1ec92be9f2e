"""Whole sweeps as a person runs them: real processes, real Ray, interrupted and killed for real."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from invariants import committed_rows, timed_requests
from raybench import cli, sweep
from raybench.analysis.sequential import LEAST_ROUNDS, HalfwidthRule
from raybench.analysis.tables import Tables, Views
from raybench.store.store import RunStore
from small_plans import small_plan
from store.stored_runs import Hands
from sweep.drivers import Driver

ROUNDS, REQUESTS = 3, 60
"""A visit takes about a second, so that some of nine are left once a test has looked at the first."""
VISITS = 3 * ROUNDS


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(small_plan(ROUNDS, REQUESTS))
    return path


def assert_every_request_is_there_once(root: Path) -> None:
    keys = timed_requests(root)
    assert set(keys.values()) == {1}
    # 6 configurations of every round and request; the multi-adapter one and, together, its two guests once more each.
    assert len(keys) == 8 * ROUNDS * REQUESTS


def test_a_run_that_is_killed_then_stopped_is_resumed_to_the_end(
    plan: Path, tmp_path: Path, drivers: list[Driver], capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"

    def start(*options: str) -> Driver:
        drivers.append(Driver(plan, results, "--run-id", "one", *options))
        return drivers[-1]

    first = start()
    first.wait_until_committed(1)
    kept = committed_rows(first.root)
    assert sweep.main(["--plan", str(plan), "--results", str(results), "--run-id", "one", "--resume"]) == 2
    refused = capsys.readouterr().err
    assert f"process {first.process.pid} on {os.uname().nodename}" in refused
    first.process.kill()
    first.process.wait()

    second = start("--resume")
    before = RunStore.open(first.root).committed()
    begun = second.wait_for_visit()
    second.wait_for_visit(after=begun)
    second.process.send_signal(signal.SIGTERM)
    assert second.wait() == 128 + signal.SIGTERM, second.output()
    assert "Go on: raybench sweep --results" in second.output()
    assert "Traceback" not in second.output()
    assert len(before) < len(RunStore.open(first.root).committed()) < VISITS

    third = start("--resume")
    assert third.wait() == 0, third.output()
    assert_every_request_is_there_once(first.root)
    assert kept <= committed_rows(first.root)
    assert {name.partition("/")[0] for name in Hands(first.root).names()}.isdisjoint(["manifest"])  # all compacted
    assert "7 of 7 configurations complete." in third.output()
    workers = RunStore.open(first.root).document["environment"]["workers"]
    assert workers
    assert all(w["machine"]["niceness"] <= max(0, os.getpriority(os.PRIO_PROCESS, 0)) for w in workers)
    assert "RAY_worker_niceness" not in third.output()
    _output_says_what_a_person_needs(third.output(), first.root)

    assert cli.main(["tables", str(first.root)]) == 0
    shown = capsys.readouterr().out
    for title in ("By configuration", "Overhead", "Significance", "Choosing an adapter", "Memory"):
        assert title in shown
    assert cli.main(["sql", str(first.root), "SELECT count(*) AS n FROM timed", "--format", "csv"]) == 0
    assert capsys.readouterr().out == f"n\n{8 * ROUNDS * REQUESTS}\n"

    # It is not gone on with other requests than it was begun with.
    command = ["--plan", str(plan), "--results", str(results), "--run-id", "one", "--resume", "--requests", "10"]
    assert sweep.main(command) == 2
    assert f"plan.requests: {REQUESTS}, now 10" in capsys.readouterr().err


def _output_says_what_a_person_needs(output: str, root: Path) -> None:
    lines = output.splitlines()
    assert any(line.split()[:2] == ["Full", "FT"] and "baseline" in line for line in lines)
    assert any(line.startswith("LoRA Separate ") and " Full FT" in line for line in lines)
    assert f"Results: {root}" in lines
    assert any("raybench tables" in line for line in lines)
    assert any(line.startswith("Time: ") and "loading" in line for line in lines)
    assert f"  {root / 'report.html'}        all of it on one page, for a browser" == lines[-1]
    assert (root / "report.html").is_file()


@pytest.mark.parametrize(
    ("signum", "kind"),
    [pytest.param(signal.SIGKILL, "killed", marks=pytest.mark.cluster), (signal.SIGSEGV, "crashed")],
)
def test_a_visit_that_is_killed_is_tried_again_and_one_that_crashes_ends_its_configuration(
    signum: signal.Signals, kind: str, plan: Path, tmp_path: Path, drivers: list[Driver]
) -> None:
    driver = Driver(plan, tmp_path / "results", "--run-id", "two", "--requests", "250", "--rounds", "1", "--no-report")
    drivers.append(driver)
    victim = driver.wait_for_visit()
    time.sleep(1.0)  # of the four or so that the visit takes: its models are loaded
    victim.send_signal(signum)
    assert driver.wait() == (kind == "crashed"), driver.output()
    assert not (driver.root / "report.html").exists()
    last = driver.output().splitlines()[-1]
    assert last == f"  raybench report {driver.root}        all of it on one page, for a browser"
    tables = Tables(driver.root)
    (attempt,) = tables.rows("SELECT * FROM attempts")
    assert (attempt["kind"], attempt["message"], attempt["attempt"]) == (kind, f"signal {signum.name}", 0)
    again = tables.rows("SELECT block, round, attempt FROM visits WHERE attempt > 0")
    # Without the configuration of several adapters, nothing is left to measure in its block.
    ended = kind == "crashed" and attempt["configuration"] == "multi_lora_2_adapters"
    retried = {"block": attempt["block"], "round": attempt["round"], "attempt": 1}
    assert again == ([] if ended else [retried])
    incomplete = tables.rows("SELECT configuration, failure FROM completeness WHERE NOT complete")
    if kind == "killed":
        assert incomplete == tables.rows("FROM failures") == []
        assert "7 of 7 configurations complete." in driver.output()
    else:
        assert incomplete == [{"configuration": attempt["configuration"], "failure": "crashed: signal SIGSEGV"}]
        assert "6 of 7 configurations complete." in driver.output()
    rows = tables.rows(
        "SELECT count(*) AS n FROM timed GROUP BY block, configuration, round, task, request HAVING count(*) > 1"
    )
    assert rows == []


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_a_second_ctrl_c_ends_at_once_and_nothing_is_lost(plan: Path, tmp_path: Path, drivers: list[Driver]) -> None:
    first = Driver(plan, tmp_path / "results", "--run-id", "hasty")
    drivers.append(first)
    first.wait_until_committed(1)
    kept = {path: path.read_bytes() for path in first.root.glob("samples/*.parquet")}
    for _ in range(2):
        first.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    # Between the two it may have stopped in good order: then it says so by 128 + 2.
    assert first.wait() in (-signal.SIGINT, 128 + signal.SIGINT), first.output()
    assert "Traceback" not in first.output()
    second = Driver(plan, tmp_path / "results", "--run-id", "hasty", "--resume")
    drivers.append(second)
    assert second.wait() == 0, second.output()
    assert_every_request_is_there_once(first.root)
    assert {path: path.read_bytes() for path in kept} == kept
    assert "7 of 7 configurations complete." in second.output()


PAIR = """
name = "pair"
requests = 2
warmups = 0

[[matrix]]
name = "fullft_{task}_seed{seed}"
strategy = "full_ft"
tasks = ["sst2"]
seeds = [1]

[[adapters]]
name = "{task}_seed{seed}"
tasks = ["sst2"]
seeds = [1]
alpha = 8

[[matrix]]
name = "lora_{task}_seed{seed}"
strategy = "lora_separate"
tasks = ["sst2"]
seeds = [1]
adapters = ["{task}_seed{seed}"]
"""


@pytest.mark.cluster
def test_rounds_are_added_until_the_intervals_are_narrow_also_across_a_kill(
    tmp_path: Path, drivers: list[Driver]
) -> None:
    plan = tmp_path / "pair.toml"
    plan.write_text(PAIR)
    options = ("--run-id", "narrow", "--until-halfwidth", "90%", "--max-rounds", "25")
    drivers.append(Driver(plan, tmp_path / "results", *options))
    drivers[0].wait_until_committed(3)
    drivers[0].process.kill()
    drivers[0].process.wait()
    root = drivers[0].root
    kept = len(RunStore.open(root).committed())
    drivers.append(Driver(plan, tmp_path / "results", *options, "--resume"))
    assert drivers[1].wait() == 0, drivers[1].output()
    # By the rule, at whatever widths this machine gave: narrow from the first look on, most likely.
    widths, rule = Views(root).verdicts.widest_claims(), HalfwidthRule(0.9, 25)
    rounds = len(widths)
    assert 3 <= kept < LEAST_ROUNDS <= rounds
    assert RunStore.open(root).committed() == {("sst2_seed1", r) for r in range(rounds)}
    said = dict(
        re.findall(r"After (\d+) rounds the widest half-width .* \(target 90\.00 %\): (\w+)", drivers[1].output())
    )
    decisions = {str(n): rule.decide(widths[:n]) for n in range(kept, rounds + 1)}
    assert "continue" not in decisions.pop(str(rounds)), widths
    assert set(decisions.values()) == {"continue"}, widths
    assert said.keys() == {*decisions, str(rounds)}
    assert said[str(rounds)] == rule.decide(widths)
    assert set(said.values()) <= {"continue", "narrow", "max_rounds"}
    assert "2 of 2 configurations complete." in drivers[1].output()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--plan", "rq3"], "did you mean 'rq2'?"),
        (["--run-id", "../x"], "--run-id"),
        (["--model", "no-such-model"], "no such preset"),
        (["--resume"], "no run of plan rq2 to resume"),
        (["--until-halfwidth", "1%", "--max-rounds", "19"], "cannot be met in 19 rounds: allow 20 or more"),
        (["--resume", "--run-id", "absent"], "no run here"),
        (["--address", "127.0.0.1:1"], "cannot be reached"),
        (["--address", "http://127.0.0.1:8265"], "expected HOST:PORT"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.main(["--results", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_jobs_own_folder_takes_no_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.chdir(tmp_path)
    assert sweep.main(["--plan", "smoke", "--results", "runs"]) == 2
    assert "--results runs: a Ray job's own folder is thrown away" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_run_is_not_begun_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RunStore.create(tmp_path, "there", {}).close()
    assert sweep.main(["--results", str(tmp_path), "--run-id", "there"]) == 2
    assert "--resume" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--rounds", "0"], ["--requests", "-1"], ["--order-seed", "-3"], ["--rounds", "x"]])
def test_counts_are_checked(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(option) == 2
    assert option[0] in capsys.readouterr().err
