"""The processes of a server: found, measured, ended. By pid, and only where it is still the same process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil

MARK: Final = "RAYBENCH_SERVER"
"""The variable that all of a server's processes inherit, with a value of the server's own."""

_GONE_S: Final = 5.0


class Memory(NamedTuple):
    """Bytes that several processes hold.

    ``resident_bytes``: now; what they share is counted once (the sum of their proportional set sizes).
    ``peak_bytes``: the sum of what each had at most (VmHWM), which need not have been at once, and in which what is
    shared is counted for each.
    """

    resident_bytes: int
    peak_bytes: int


def below(pid: int) -> list[psutil.Process]:
    """The processes that ``pid`` started, and those that they started; none where it has ended."""
    try:
        found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
    return found


def marked(mark: str, session: int) -> list[psutil.Process]:
    """Processes that still run and have this value of the mark, or are of the session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            running = process.status() != psutil.STATUS_ZOMBIE
            if running and (os.getsid(process.pid) == session or process.environ().get(MARK) == mark):
                found.append(process)
    return found


def kill(processes: Iterable[Any]) -> None:
    """Kill each that still is the process it was found as, and wait some seconds until they are gone."""
    killed = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
            killed.append(process)
    psutil.wait_procs(killed, timeout=_GONE_S)


def memory_of(processes: Sequence[Any]) -> Memory:
    """Of processes that may end meanwhile, and are then left out."""
    resident = peak = 0
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError, ValueError):
            resident += process.memory_full_info().pss
            peak += _peak_bytes(process.pid)
    return Memory(resident, peak)


def cpu_ns(processes: Iterable[Any]) -> int:
    """Processor time that processes have used, of those that still run; the kernel tells it in ticks (10 ms)."""
    used = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            used += times.user + times.system
    return round(used * 1e9)


def has_to_itself(processes: Sequence[Any], port: int) -> bool:
    """Whether one of the processes accepts connections on ``port``, and no other process does.

    Several may (SO_REUSEPORT): then the kernel gives each connection to one of them.
    """
    connections = psutil.net_connections(kind="tcp")
    listening = {c.pid for c in connections if c.status == psutil.CONN_LISTEN and c.laddr.port == port}
    return bool(listening) and listening <= {process.pid for process in processes}


def _peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0  # a zombie has none
