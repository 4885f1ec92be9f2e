"""Processes and ports of tests: found, ended, free."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterable

import psutil


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """End what was started here, and all that it started."""
    family: Iterable[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        family = psutil.Process(process.pid).children(recursive=True)
    for one in (process, *family):
        with contextlib.suppress(psutil.Error, OSError):
            one.kill()
    process.wait()


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def is_fork_server(process: psutil.Process) -> bool:
    """Whether it is a worker's fork server, or a visit's process: both keep its command line."""
    return "forkserver" in " ".join(process.cmdline())


def is_visit(process: psutil.Process) -> bool:
    """Whether it is a visit's process: a fork server's child."""
    parent = process.parent()
    return is_fork_server(process) and parent is not None and is_fork_server(parent)
