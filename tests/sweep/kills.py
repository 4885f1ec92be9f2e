"""Sweeps whose processes are killed at random moments, gone on with to the end, and held to what must be there.

`Siege` runs one sweep on a Ray cluster of its own, and kills: the driver, the worker that holds a device, its fork
server, the visit's process, or Ray's own raylet or GCS, which takes the cluster down. Moments and victims are drawn
from a seed; what runs at a moment is the machine's business, so two runs of one seed are alike, not equal.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from invariants import committed_rows, expected_requests, timed_requests
from processes import end_tree, free_port, is_fork_server, is_visit
from raybench.analysis.tables import Tables
from raybench.deploy import strategies
from raybench.model.workload import glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.builder import Overrides
from raybench.store.store import RunStore

Wait = Callable[[float], object]

KINDS: Mapping[str, float] = {
    "driver": 0.3,
    "visit": 0.35,
    "worker": 0.2,
    "fork server": 0.1,
    "raylet": 0.03,
    "gcs": 0.02,
}
"""Victims, and how often each is chosen."""


class Siege:
    """One sweep of ``plan`` in ``folder``. Use as a context manager: whatever it started ends with it."""

    def __init__(self, plan: Path, folder: Path, seed: int, kinds: Mapping[str, float] = KINDS) -> None:
        self.plan, self.results, self.kinds = plan, folder / "results", kinds
        self.root = self.results / "siege"
        self.log = folder / "driver.log"
        self.random = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.drivers = 0
        self.kept: set[str] = set()
        self._ray: subprocess.Popen[bytes] | None = None
        self._driver: subprocess.Popen[bytes] | None = None
        # Ray's token, given by hand: with it a cluster of `ray start` is as closed as one of `ray.init`.
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(16),
            "PYTHONUNBUFFERED": "1",
        }
        self._temp = Path(tempfile.mkdtemp(prefix="rb-", dir="/tmp"))

    def __enter__(self) -> Siege:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in (self._driver, self._ray):
            if process is not None:
                end_tree(process)
        shutil.rmtree(self._temp, ignore_errors=True)

    def run(
        self,
        kills: int,
        first_s: tuple[float, float] = (0.5, 20.0),
        pause_s: tuple[float, float] = (0.3, 4.0),
        limit_s: float = 3600.0,
    ) -> None:
        """Sweep, kill ``kills`` times while anything is left to kill, and resume until the sweep is complete.

        ``first_s``: how long a new driver has until the first kill, from when it is started: some are killed before
        they have done anything. ``pause_s``: between kills.
        """
        deadline = time.monotonic() + limit_s
        while True:
            if time.monotonic() > deadline:
                raise AssertionError(f"not over after {limit_s:g} s, {self.kills}:\n{self.output()}")
            self._start_ray()
            driver = self._start_driver()
            pause = self.random.uniform(*first_s)
            while driver.poll() is None and sum(self.kills.values()) < kills:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    driver.wait(pause)
                if driver.poll() is None:
                    self._kill_one(driver)
                pause = self.random.uniform(*pause_s)
            try:
                # A driver whose GCS has gone finds out within a minute; then it ends by itself.
                code = driver.wait(timeout=max(1.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise AssertionError(f"not over after {limit_s:g} s, {self.kills}:\n{self.output()}") from None
            self._remember()
            if code == 0:
                return
            if code == 2 and "cannot be reached" not in self.output().splitlines()[-1]:
                raise AssertionError(f"refused:\n{self.output()}")

    def check(self) -> dict[str, int]:
        """Every request exactly once, what was committed unchanged, every configuration complete: or AssertionError.

        Gives the numbers of rows, of configurations, and of attempts that were lost.
        """
        plan, _ = plan_file.load_plan(str(self.plan), strategies.all_traits(), glue_tasks(), Overrides())
        expected = expected_requests(plan)
        store = RunStore.open(self.root)
        store.verify()
        found = timed_requests(self.root)
        assert set(found) == expected, f"{len(expected - set(found))} lost, {len(set(found) - expected)} too many"
        assert set(found.values()) == {1}, f"{sum(n > 1 for n in found.values())} twice"
        assert self.kept <= committed_rows(self.root), "a committed row is not what it was"
        tables = Tables(self.root)
        states = tables.rows("SELECT complete FROM completeness")
        assert [s["complete"] for s in states] == [True] * len(plan.configurations)
        (lost,) = tables.rows("SELECT count(*) AS n FROM attempts")
        return {"rows": len(found), "configurations": len(states), "lost attempts": lost["n"]}

    def output(self) -> str:
        """What its drivers have printed last."""
        return self.log.read_text().strip()[-3000:] if self.log.exists() else ""

    def _start_ray(self) -> None:
        if self._ray is not None and self._ray.poll() is None and _answers(self._port):
            return
        if self._ray is not None:
            end_tree(self._ray)
        self._port = free_port()
        command = [shutil.which("ray", path=str(Path(sys.executable).parent)) or "ray", "start", "--head", "--block"]
        command += [f"--port={self._port}", "--num-cpus=1", "--num-gpus=0", "--include-dashboard=false"]
        command += [f"--temp-dir={self._temp}", "--object-store-memory=100000000", "--disable-usage-stats"]
        self._ray = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self._environment
        )
        deadline = time.monotonic() + 300
        while not _answers(self._port):
            assert self._ray.poll() is None, "ray start failed"
            assert time.monotonic() < deadline, "Ray did not come up"
            time.sleep(0.2)
        time.sleep(1.0)

    def _start_driver(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "raybench.sweep", "--plan", str(self.plan), "--model", "micro"]
        command += ["--results", str(self.results), "--run-id", self.root.name, "--address", f"127.0.0.1:{self._port}"]
        command += ["--resume"] if (self.root / "run.json").exists() else []
        with self.log.open("a") as out:
            self._driver = subprocess.Popen(command, stdout=out, stderr=out, env=self._environment)
        self.drivers += 1
        return self._driver

    def _kill_one(self, driver: subprocess.Popen[bytes]) -> None:
        there = self._victims(driver)
        kinds = [kind for kind in self.kinds if there.get(kind)]
        kind = self.random.choices(kinds, [self.kinds[k] for k in kinds])[0]
        with contextlib.suppress(psutil.NoSuchProcess):
            self.random.choice(there[kind]).send_signal(signal.SIGKILL)
            self.kills[kind] += 1

    def _victims(self, driver: subprocess.Popen[bytes]) -> dict[str, list[psutil.Process]]:
        assert self._ray is not None
        found: dict[str, list[psutil.Process]] = {"driver": [psutil.Process(driver.pid)]}
        for process in psutil.Process(self._ray.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                words = " ".join(process.cmdline())
                if is_visit(process):
                    found.setdefault("visit", []).append(process)
                elif is_fork_server(process):
                    found.setdefault("fork server", []).append(process)
                elif words.startswith("ray::") and any(map(is_fork_server, process.children())):
                    found.setdefault("worker", []).append(process)
                elif (name := process.name()) in ("raylet", "gcs_server"):
                    found.setdefault(name.removesuffix("_server"), []).append(process)
        return found

    def _remember(self) -> None:
        if (self.root / "run.json").exists():
            rows = committed_rows(self.root)
            assert self.kept <= rows, f"{len(self.kept - rows)} committed rows are not what they were"
            self.kept = rows


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False
