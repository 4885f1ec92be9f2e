"""Builds of raybench that are set beside each other, each asked by processes of its own.

The peak of a process begins with that of what started it, so whatever is large is asked in a process apart.
"""

from __future__ import annotations

import contextlib
import csv
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
THIS = ROOT / "src"


@contextlib.contextmanager
def builds(against: str | None, folder: Path) -> Iterator[dict[str, Path]]:
    """Where the sources are of this build, and of the revision ``against``, which is checked out below ``folder``."""
    found = {"this build": THIS}
    if against is None:
        yield found
        return
    other = folder / "other"
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--detach", str(other), against], check=True, capture_output=True)
    try:
        yield found | {against: other / "src"}
    finally:
        subprocess.run([*git, "remove", "--force", str(other)], check=True)


def environment(source: Path) -> dict[str, str]:
    """In which Python finds the build at ``source``."""
    return os.environ | {"PYTHONPATH": str(source)}


def raybench(*words: str) -> list[str]:
    """The command ``raybench`` with these words, by this Python."""
    return [sys.executable, "-m", "raybench", *words]


def asked_of(root: Path | str, query: str, source: Path = THIS) -> list[dict[str, str]]:
    """The rows that ``raybench sql`` gives of a run."""
    command = raybench("sql", str(root), query, "--format", "csv")
    found = subprocess.run(command, env=environment(source), capture_output=True, text=True, check=True)
    return list(csv.DictReader(found.stdout.splitlines()))


class Spent(NamedTuple):
    """By one process: CPU seconds are of all its threads, ``peak_bytes`` of its resident set."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def timed(command: list[str], source: Path) -> Spent:
    """What a process spent, from its start to its end. Raises `SystemExit` where it failed."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment(source)) as process:
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}")
    return Spent(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
