"""Checks of the processor's cores: whether their clock is steady, what they share, which of them may be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from raybench.machine.findings import CannotRead, Look, Tree, cores_of, field, listed

_CPUS: Final = "sys/devices/system/cpu"
_FEWEST_CORES: Final = 2
"""One that is measured on, and one for all else: Ray, what writes results, a client."""


def core_checks(tree: Tree) -> Mapping[str, Callable[[], Look]]:
    """The checks of cores, by name."""
    checks = {"governor": governor, "boost": boost, "smt": threads, "cores": cores}
    return {name: partial(check, tree) for name, check in checks.items()}


def usable_cores(tree: Tree) -> tuple[int, ...]:
    """The cores that this process may run on, of its mask and its cpuset. Raises `CannotRead`."""
    status = "proc/self/status"
    found = cores_of(field(tree.fields(status), "Cpus_allowed_list", status))
    if not found:
        raise CannotRead(f"/{status}: Cpus_allowed_list is empty")
    return found


def governor(tree: Tree) -> Look:
    """A clock that follows the load is another in a visit's beginning than at its end."""
    usable = usable_cores(tree)
    if not tree.has(f"{_CPUS}/cpu{usable[0]}/cpufreq"):
        raise CannotRead(f"/{_CPUS}/cpu{usable[0]}/cpufreq is not there: a virtual machine's host keeps it to itself")
    names = [tree.text(f"{_CPUS}/cpu{core}/cpufreq/scaling_governor") for core in usable]
    other = sorted({name for name in names if name != "performance"})
    if not other:
        return Look(f"performance on {len(usable)} cores")
    count = sum(name != "performance" for name in names)
    return Look(
        f"{', '.join(other)} on {count} of {len(usable)} cores: their clock follows the load",
        "cpupower frequency-set -g performance",
    )


def boost(tree: Tree) -> Look:
    """A boosted clock depends on heat and on what other cores do."""
    for path, on, off in (("intel_pstate/no_turbo", "0", "1"), ("cpufreq/boost", "1", "0")):
        if tree.has(f"{_CPUS}/{path}"):
            if tree.text(f"{_CPUS}/{path}") != on:
                return Look("off")
            return Look(
                "on: the clock depends on heat and on what other cores do", f"echo {off} > /{_CPUS}/{path}, as root"
            )
    raise CannotRead(
        f"neither /{_CPUS}/intel_pstate/no_turbo nor /{_CPUS}/cpufreq/boost is there: a virtual machine's host keeps "
        "them to itself"
    )


def threads(tree: Tree) -> Look:
    """Two hardware threads of a core share its units and caches."""
    usable = usable_cores(tree)
    told = {core: cores_of(tree.text(f"{_CPUS}/cpu{core}/topology/thread_siblings_list")) for core in usable}
    groups = {tuple(sorted({core, *siblings})) for core, siblings in told.items()}
    shared = sorted(group for group in groups if len(group) > 1)
    if not shared:
        return Look(f"none of {len(usable)} cores shares its units with another, as far as is told")
    among = [group for group in shared if len(set(group) & set(usable)) > 1]
    apart = listed(min(set(group) & set(usable)) for group in groups)
    off = f"echo off > /{_CPUS}/smt/control, as root"
    if among:
        threads_used = sum(len(set(group) & set(usable)) for group in among)
        return Look(
            f"of {len(usable)} cores {threads_used} are threads that share a core, as {listed(among[0])}",
            f"run on one of each (taskset -c {apart} ...), or {off}",
        )
    return Look(
        f"{len(shared)} of {len(usable)} share a core with a thread that others may use, as {listed(shared[0])}",
        f"leave those idle, or {off}",
    )


def cores(tree: Tree) -> Look:
    """Whether there are enough for what is measured and what measures."""
    usable, online = usable_cores(tree), cores_of(tree.text(f"{_CPUS}/online"))
    if len(usable) >= min(_FEWEST_CORES, len(online)) and len(online) > 1:
        return Look(f"{len(usable)} of {len(online)} may be used: {listed(usable)}")
    found = f"{len(usable)} of {len(online)} may be used: what measures shares it with what is measured"
    remedy = "a machine with more cores" if len(online) == 1 else "allow another: taskset, cpuset.cpus, docker --cpuset"
    return Look(found, remedy)
