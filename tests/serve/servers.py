"""Real processes of the small server, and what is left of them."""

from __future__ import annotations

import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from raybench.serve.ports import answers, free_port
from raybench.serve.server_process import Command, ServerProcess

SCRIPT = Path(__file__).with_name("small_server.py")


def words(port: int, *options: object) -> tuple[str, ...]:
    """The command of the small server."""
    return (sys.executable, "-S", str(SCRIPT), str(port), *map(str, options))


def made(
    *options: object, port: int | None = None, ready_within_s: float = 20.0, grace_s: float = 5.0
) -> ServerProcess:
    """A server that is not started yet."""
    port = free_port() if port is None else port
    command = Command(words(port, *options))
    return ServerProcess(
        "small", command, lambda: answers(port, "/health"), ready_within_s=ready_within_s, grace_s=grace_s
    )


def get(port: int, path: str, key: str = "") -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return answer.read().decode()


def watch(server: ServerProcess, within_s: float = 20.0) -> None:
    """Look whether it lives until it does not, which raises."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        server.check_alive()


def runs(pid: int) -> bool:
    """Whether a process still does anything; one that nobody waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone_within(pid: int, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if not runs(pid):
            return True
        time.sleep(0.01)
    return False


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """What is started inside leaves no process and nothing in ``folder``, which is where temporary files go."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    yield
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before
    assert list(folder.iterdir()) == []
