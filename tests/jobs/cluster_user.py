"""Who uses a cluster: types the commands of docs/cluster.md on a `machines.World`, and reads what comes of them."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from committed_visits import wait_until_committed
from docs.pages import as_typed
from jobs.machines import REPOSITORY, World, within
from raybench.analysis.tables import Tables

DASHBOARD = "http://127.0.0.1:8265"

LOGICAL_GPUS = str(REPOSITORY / "tests" / "cluster" / "logical_gpus" / "sitecustomize.py")
"""For `World`'s ``python``: what would be an L4 is measured on a core, under a name of its own."""


ONCE = (as_typed("docs/cluster.md", "pip install -c constraints.txt boto3"), as_typed("docs/cluster.md", "(umask 077;"))


class ClusterUser:
    """Commands about one cluster file."""

    def __init__(self, world: World, config: dict[str, Any], environment: dict[str, str] | None = None) -> None:
        """``config``: a cluster file as it was read, with what a person fills in."""
        self.world, self._environment = world, environment or {}
        self.file = world.home / "cluster.yaml"
        self.file.write_text(yaml.safe_dump(config, sort_keys=False))
        for line in ONCE:
            world.run("bash", "-c", line)

    def up(self) -> None:
        self._ray(as_typed("docs/cluster.md", "ray up cluster.yaml"), "-y", "--no-config-cache")

    def down(self) -> None:
        self._ray(as_typed("docs/cluster.md", "ray down cluster.yaml"), "-y")

    @contextlib.contextmanager
    def dashboard(self) -> Iterator[None]:
        """Behind the other commands, until it is not needed any more."""
        line = self._of_the_file(as_typed("docs/cluster.md", "ray dashboard cluster.yaml &")).removesuffix("&")
        with (self.world.home / "dashboard.log").open("w") as log:
            tunnel = subprocess.Popen(
                self.world.command("bash", "-c", f"exec {line}"), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        try:
            with within(60, "the dashboard") as wait:
                while self.status(f"{DASHBOARD}/api/version", self.token()) != 200:
                    wait()
            yield
        finally:
            tunnel.terminate()
            tunnel.wait()

    def token(self) -> str:
        return (self.world.home / ".ray" / "auth_token").read_text()

    def status(self, url: str, token: str | None, method: str = "GET") -> int:
        """The HTTP status that ``url`` answers with; 0 where nothing answers."""
        header = [] if token is None else ["--header", f"Authorization: Bearer {token}"]
        command = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--request", method]
        done = self.world.run(*command, "--max-time", "10", *header, url, check=False)
        return int(done.stdout or 0)

    def submit(self, line: str, *options: str, **filled: str) -> tuple[int, str]:
        """Type a line that submits a job and wait for its end; how it ended, and all that it printed.

        ``filled``: what is typed for words of the line, such as RESULTS.
        """
        done = self.world.run("bash", "-c", _with(line, options, filled), check=False)
        return done.returncode, done.stdout + done.stderr

    @contextlib.contextmanager
    def submitted(self, line: str, *options: str, **filled: str) -> Iterator[Job]:
        """The same, while it runs."""
        log = self.world.home / "job.log"
        command = self.world.command("bash", "-c", f"exec {_with(line, options, filled)}")
        with log.open("w") as out:
            client = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        try:
            yield Job(self, client, log)
        finally:
            client.terminate()
            client.wait()

    def _ray(self, line: str, *options: str) -> None:
        """``options``: what a person answers."""
        settings = [f"{name}={value}" for name, value in self._environment.items()]
        self.world.run("env", *settings, "bash", "-c", shlex.join([*shlex.split(self._of_the_file(line)), *options]))

    def _of_the_file(self, line: str) -> str:
        return line.replace("cluster.yaml", str(self.file))


def _with(line: str, options: Sequence[str], filled: Mapping[str, str]) -> str:
    for name, own in filled.items():
        assert name in line, f"{name} is not in {line}"
        line = line.replace(name, shlex.quote(own))
    return f"{line} {shlex.join(options)}"


class Job:
    """A job that was submitted and is followed."""

    def __init__(self, user: ClusterUser, client: subprocess.Popen[bytes], log: Path) -> None:
        self._user, self._client, self._log = user, client, log

    def running(self) -> bool:
        return self._client.poll() is None

    def output(self) -> str:
        return self._log.read_text()

    def wait_until_committed(self, run: Path, visits: int, seconds: float = 900) -> None:
        wait_until_committed(run, visits, self.running, self.output, seconds)

    def wait(self, seconds: float) -> int:
        """How its submission ended."""
        try:
            return self._client.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.output()) from None

    def stop(self) -> str:
        """``ray job stop``; then its whole log, by ``ray job logs``."""
        (name,) = set(re.findall(r"raysubmit_\w+", self.output()))
        stop, logs = (as_typed("docs/cluster.md", "ray job stop"), as_typed("docs/cluster.md", "ray job logs"))
        self._user.world.run("bash", "-c", stop.removesuffix("ID") + name)
        return self._user.world.run("bash", "-c", logs.removesuffix("ID") + name).stdout


def assert_complete(run: Path, configurations: int, rounds: int, requests: int) -> Tables:
    """Every configuration is complete, and every (configuration, round, task, request) of it is there exactly once."""
    tables = Tables(run)  # checks every file's hash
    (found,) = tables.rows("SELECT count(*) AS n, count(*) FILTER (complete) AS complete FROM completeness")
    assert found == {"n": configurations, "complete": configurations}
    description = json.loads((run / "run.json").read_text())
    assert (description["plan"]["rounds"], description["plan"]["requests"]) == (rounds, requests)
    own = tables.rows(
        "SELECT t.configuration, count(*) AS n, count(DISTINCT (t.round, t.task, t.request)) AS different "
        "FROM timed AS t JOIN configurations AS c ON c.name = t.configuration AND c.block = t.block GROUP BY ALL"
    )
    assert {(row["n"], row["different"]) for row in own} == {(rounds * requests, rounds * requests)}
    assert len(own) == configurations
    again = "GROUP BY block, configuration, round, task, request HAVING count(*) > 1"
    assert tables.rows(f"SELECT count(*) AS n FROM timed {again}") == []  # nor twice where it is a guest
    return tables
