"""Sweeps in processes of their own, for tests to interrupt."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from committed_visits import wait_until_committed
from processes import end_tree, is_visit
from raybench.store.location import Location

PATIENCE_S = 300.0
"""For what takes some seconds on a machine that has nothing else to do."""


class Driver:
    """A sweep in a process of its own."""

    def __init__(self, plan: Path, results: Location, *options: str) -> None:
        command = [sys.executable, "-m", "raybench.sweep", "--plan", str(plan), "--results", str(results)]
        self.log = plan.parent / f"driver-{time.monotonic_ns()}.log"
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with self.log.open("w") as out:
            self.process = subprocess.Popen([*command, *options], stdout=out, stderr=out, env=environment)
        self.root = results / options[options.index("--run-id") + 1]

    def wait_until_committed(self, visits: int) -> None:
        wait_until_committed(self.root, visits, lambda: self.process.poll() is None, self.output, PATIENCE_S)

    def wait_for_visit(self, after: psutil.Process | None = None) -> psutil.Process:
        """The process of a visit that runs; of one that was begun after that of another."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < deadline:
            # Before it says where the results go, what is forked prepares the model and describes the machine.
            for process in self.visit_processes() if "Results: " in self.output() else []:
                if after is None or process.pid != after.pid:
                    return process
            time.sleep(0.02)
        raise AssertionError(self.output())

    def visit_processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if is_visit(process):
                    found.append(process)
        return found

    def wait(self) -> int:
        return self.process.wait(timeout=PATIENCE_S)

    def output(self) -> str:
        return self.log.read_text()


@pytest.fixture
def drivers() -> Iterator[list[Driver]]:
    started: list[Driver] = []
    yield started
    for driver in started:
        end_tree(driver.process)
