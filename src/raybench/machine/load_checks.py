"""Checks over a short while: what others compute, and what a hypervisor takes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

from raybench.machine.findings import CannotRead, Look, Tree, number_of
from raybench.records import in_percent

_OTHERS_CORES: Final = 0.2
"""How many cores others may use: daemons of an idle machine use less."""
_STOLEN_SHARE: Final = 0.01
_SHOWN: Final = 3
"""Processes that are named."""
_COLUMNS: Final = 8
"""Of the line of all cores: user, nice, system, idle, iowait, irq, softirq, steal. A guest's time is in the first."""


class ProcessorTime(NamedTuple):
    """Of all cores together, in nanoseconds since the machine started: in use, taken by a hypervisor, and in all."""

    busy_ns: int
    stolen_ns: int
    all_ns: int


class _Watched(NamedTuple):
    """What was used over a while: in all, by each process (name and number), and by who looks."""

    seconds: float
    machine: ProcessorTime
    used_ns: dict[tuple[str, int], int]
    own_ns: int


def processor_time(tree: Tree) -> ProcessorTime:
    """From /proc/stat, in ticks, mostly of 10 ms. Raises `CannotRead`."""
    where = "proc/stat"
    words = tree.text(where).partition("\n")[0].split()
    if len(words) < 1 + _COLUMNS or words[0] != "cpu":
        raise CannotRead(f"/{where}: its first line is not of all cores")
    tick_ns = _tick_ns()
    ticks = [number_of(word, where) * tick_ns for word in words[1 : 1 + _COLUMNS]]
    stolen, idle = ticks[7], ticks[3] + ticks[4]
    return ProcessorTime(sum(ticks) - idle - stolen, stolen, sum(ticks))


def load_checks(
    tree: Tree, seconds: float, sleep: Callable[[float], None] = time.sleep
) -> Mapping[str, Callable[[], Look]]:
    """The checks over a while of ``seconds``, by name; the machine is looked at once for all of them."""
    found: list[_Watched] = []

    def watched() -> _Watched:
        if not found:
            found.append(_watch(tree, seconds, sleep))
        return found[0]

    return {"load": partial(_load, watched), "steal": partial(_steal, tree, watched)}


def _load(watched: Callable[[], _Watched]) -> Look:
    """Others on the cores stall what is measured, and share its caches, memory and boost."""
    seen = watched()
    others = max(0.0, (seen.machine.busy_ns - seen.own_ns) / 1e9 / seen.seconds)
    there = seen.machine.all_ns / 1e9 / seen.seconds
    found = f"others compute on {others:.2f} of {there:.3g} cores"
    if others <= _OTHERS_CORES:
        return Look(found)
    most = sorted(seen.used_ns.items(), key=lambda one: -one[1])[:_SHOWN]
    named = [f"{name} ({pid}) {ns / 1e9 / seen.seconds:.2f}" for (name, pid), ns in most if ns]
    who = f": {', '.join(named)}" if named else ""
    return Look(found + who, "end them, wait until they are done, or measure on a machine of its own")


def _steal(tree: Tree, watched: Callable[[], _Watched]) -> Look:
    """Time in which the machine would have run, and its hypervisor ran others."""
    seen = watched().machine
    since = processor_time(tree)
    if not since.all_ns:
        raise CannotRead("/proc/stat counts nothing")
    share = seen.stolen_ns / seen.all_ns if seen.all_ns else 0.0
    found = f"{in_percent(share, '.1f')} of the processor time over {watched().seconds:.1f} s, "
    found += f"{in_percent(since.stolen_ns / since.all_ns, '.1f')} since the machine started"
    if share <= _STOLEN_SHARE:
        return Look(found)
    return Look(found, "its hypervisor runs others: a dedicated host, an instance that is not burstable")


def _watch(tree: Tree, seconds: float, sleep: Callable[[float], None]) -> _Watched:
    processes = _processes(tree)
    before, own = processor_time(tree), time.process_time_ns()
    sleep(seconds)
    own_ns, after = time.process_time_ns() - own, processor_time(tree)
    machine = ProcessorTime(*(b - a for a, b in zip(before, after, strict=True)))
    if machine.all_ns <= 0:
        raise CannotRead(f"/proc/stat stood still for {seconds:.1f} s")
    used = {
        process: ns - processes[process]
        for process, ns in _processes(tree).items()
        if process in processes and process[1] != os.getpid()
    }
    cores = sum(line.startswith("cpu") for line in tree.text("proc/stat").splitlines()) - 1
    return _Watched(machine.all_ns / 1e9 / max(1, cores), machine, used, own_ns)


def _processes(tree: Tree) -> dict[tuple[str, int], int]:
    """Of each process, by name and number, the processor time that it has used, in nanoseconds."""
    found: dict[tuple[str, int], int] = {}
    tick_ns = _tick_ns()
    for name in tree.names("proc"):
        if name.isdecimal():
            try:  # a process may end meanwhile; its name may hold anything, also a bracket
                before, _, rest = tree.text(f"proc/{name}/stat").rpartition(")")
                words = rest.split()
                found[before.partition("(")[2], int(name)] = (int(words[11]) + int(words[12])) * tick_ns
            except (CannotRead, IndexError, ValueError):
                continue
    return found


def _tick_ns() -> int:
    return 1_000_000_000 // os.sysconf("SC_CLK_TCK")
