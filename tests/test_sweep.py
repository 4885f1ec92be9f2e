"""Whole sweeps as a person runs them: real processes, real Ray, interrupted and killed for real."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from conftest import SMALL_PLAN
from raybench import cli, sweep
from raybench.store import RunStore
from raybench.tables import Tables

VISITS = 3 * 4


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL_PLAN.replace("rounds = 2", "rounds = 4").replace("requests = 4", "requests = 20"))
    return path


class Driver:
    """A sweep in a process of its own."""

    def __init__(self, plan: Path, results: Path, *options: str) -> None:
        command = [sys.executable, "-m", "raybench.sweep", "--plan", str(plan), "--results", str(results)]
        self.log = results.parent / f"driver-{time.monotonic_ns()}.log"
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with self.log.open("w") as out:
            self.process = subprocess.Popen([*command, *options], stdout=out, stderr=out, env=environment)
        self.root = results / options[options.index("--run-id") + 1]

    def wait_until_committed(self, visits: int) -> None:
        deadline = time.monotonic() + 120
        while self.process.poll() is None and time.monotonic() < deadline:
            if (self.root / "run.json").is_file() and len(RunStore.open(self.root).committed()) >= visits:
                return
            time.sleep(0.05)
        raise AssertionError(self.output())

    def visit_processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                parent = process.parent()
                if (
                    parent
                    and "forkserver" in " ".join(parent.cmdline())
                    and "forkserver" in " ".join(process.cmdline())
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def wait(self) -> int:
        return self.process.wait(timeout=150)

    def output(self) -> str:
        return self.log.read_text()


@pytest.fixture
def drivers() -> Iterator[list[Driver]]:
    started: list[Driver] = []
    yield started
    for driver in started:
        if driver.process.poll() is None:
            for child in psutil.Process(driver.process.pid).children(recursive=True):
                child.kill()
            driver.process.kill()


def assert_every_request_is_there_once(root: Path) -> None:
    rows = RunStore.open(root).read("samples").to_pylist()
    keys = Counter(
        (r["block"], r["configuration"], r["round"], r["task"], r["request"]) for r in rows if r["phase"] == "timed"
    )
    assert set(keys.values()) == {1}
    # 6 configurations of 4 rounds x 20; the multi-adapter one and, together, its two guests once more each.
    assert len(keys) == 8 * 4 * 20


def test_a_run_that_is_killed_then_stopped_is_resumed_to_the_end(
    plan: Path, tmp_path: Path, drivers: list[Driver], capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"

    def start(*options: str) -> Driver:
        drivers.append(Driver(plan, results, "--run-id", "one", *options))
        return drivers[-1]

    first = start()
    first.wait_until_committed(2)
    kept = {p: p.read_bytes() for p in first.root.glob("samples/*.parquet")}
    assert sweep.main(["--plan", str(plan), "--results", str(results), "--run-id", "one", "--resume"]) == 2
    refused = capsys.readouterr().err
    assert f"process {first.process.pid} on {os.uname().nodename}" in refused
    first.process.kill()
    first.process.wait()

    second = start("--resume")
    second.wait_until_committed(len(RunStore.open(first.root).committed()) + 1)
    second.process.send_signal(signal.SIGTERM)
    assert second.wait() == 128 + signal.SIGTERM, second.output()
    assert "Go on: python -m raybench.sweep --results" in second.output()
    assert "Traceback" not in second.output()
    assert len(RunStore.open(first.root).committed()) < VISITS

    third = start("--resume")
    assert third.wait() == 0, third.output()
    assert_every_request_is_there_once(first.root)
    assert {p: p.read_bytes() for p in kept} == kept
    assert "7 of 7 configurations complete." in third.output()
    _output_says_what_a_person_needs(third.output(), first.root)

    assert cli.main(["tables", str(first.root)]) == 0
    shown = capsys.readouterr().out
    for title in ("By configuration", "Overhead", "Significance", "Choosing an adapter", "Memory"):
        assert title in shown
    assert cli.main(["sql", str(first.root), "SELECT count(*) AS n FROM timed", "--format", "csv"]) == 0
    assert capsys.readouterr().out == f"n\n{8 * 4 * 20}\n"

    # Begun with 20 requests, it is not gone on with 10.
    command = ["--plan", str(plan), "--results", str(results), "--run-id", "one", "--resume", "--requests", "10"]
    assert sweep.main(command) == 2
    assert "plan.requests: 20, now 10" in capsys.readouterr().err


def _output_says_what_a_person_needs(output: str, root: Path) -> None:
    lines = output.splitlines()
    assert any(line.split()[:2] == ["Full", "FT"] and "baseline" in line for line in lines)
    assert any(line.startswith("LoRA Separate ") and " Full FT" in line for line in lines)
    assert f"Results: {root}" in lines
    assert any("raybench tables" in line for line in lines)
    assert any(line.startswith("Time: ") and "loading" in line for line in lines)


@pytest.mark.parametrize(("signum", "kind"), [(signal.SIGKILL, "killed"), (signal.SIGSEGV, "crashed")])
def test_a_visit_that_is_killed_is_tried_again_and_one_that_crashes_ends_its_configuration(
    signum: signal.Signals, kind: str, plan: Path, tmp_path: Path, drivers: list[Driver]
) -> None:
    driver = Driver(plan, tmp_path / "results", "--run-id", "two", "--requests", "40", "--rounds", "2")
    drivers.append(driver)
    driver.wait_until_committed(1)
    while not driver.visit_processes():
        time.sleep(0.02)
    time.sleep(0.3)
    victim = driver.visit_processes()
    for process in victim:
        process.send_signal(signum)
    assert driver.wait() == (kind == "crashed"), driver.output()
    tables = Tables(driver.root)
    (attempt,) = tables.rows("SELECT * FROM attempts")
    assert (attempt["kind"], attempt["message"], attempt["attempt"]) == (kind, f"signal {signum.name}", 0)
    again = tables.rows("SELECT block, round, attempt FROM visits WHERE attempt > 0")
    assert again == [{"block": attempt["block"], "round": attempt["round"], "attempt": 1}]
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


def test_rounds_are_added_until_the_intervals_are_narrow_also_across_a_kill(
    tmp_path: Path, drivers: list[Driver]
) -> None:
    plan = tmp_path / "pair.toml"
    plan.write_text(PAIR)
    options = ("--run-id", "narrow", "--until-halfwidth", "90%", "--max-rounds", "30")
    drivers.append(Driver(plan, tmp_path / "results", *options))
    drivers[0].wait_until_committed(3)
    drivers[0].process.kill()
    drivers[0].process.wait()
    drivers.append(Driver(plan, tmp_path / "results", *options, "--resume"))
    assert drivers[1].wait() == 0, drivers[1].output()
    said = drivers[1].output()
    # Narrow from the first look on, at 8 rounds, and still so 12 rounds later.
    assert re.search(r"After 19 rounds the widest half-width is [\d.]+% \(target 0\.9\): continue\.", said)
    assert re.search(r"After 20 rounds the widest half-width is [\d.]+% \(target 0\.9\): narrow\.", said)
    assert RunStore.open(drivers[1].root).committed() == {("sst2_seed1", r) for r in range(20)}
    assert "2 of 2 configurations complete." in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--plan", "rq3"], "did you mean 'rq2'?"),
        (["--run-id", "../x"], "--run-id"),
        (["--model", "no-such-model"], "no such preset"),
        (["--resume"], "no run of plan rq2 to resume"),
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


def test_an_existing_run_is_not_begun_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RunStore.create(tmp_path, "there", {}).close()
    assert sweep.main(["--results", str(tmp_path), "--run-id", "there"]) == 2
    assert "--resume" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--rounds", "0"], ["--requests", "-1"], ["--order-seed", "-3"], ["--rounds", "x"]])
def test_counts_are_checked(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        sweep.main(option)
    assert stopped.value.code == 2
    assert option[0] in capsys.readouterr().err


def test_resume_without_a_run_id_takes_the_newest_run_of_the_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def begin(run_id: str, plan: str, created_at: str) -> None:
        RunStore.create(tmp_path, run_id, {**BEGUN, "plan": {"name": plan}, "created_at": created_at}).close()

    begin("a-mine", "smoke", "2026-01-02T00:00:00+00:00")
    begin("smoke-z", "smoke", "2026-01-01T00:00:00+00:00")
    begin("smoke-other", "smoke-other", "2026-01-03T00:00:00+00:00")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "run.json").write_text("{")
    assert sweep.main(["--plan", "smoke", "--results", str(tmp_path), "--resume"]) == 2
    assert f"{tmp_path}/a-mine: cannot be resumed" in capsys.readouterr().err


BEGUN = {
    "model": {"name": "micro", "kind": "preset_files", "location": None},
    "environment": {"driver": {"versions": {}}},
}
