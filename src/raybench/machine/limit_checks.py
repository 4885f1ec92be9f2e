"""Checks of limits that a process is under: a quota of processor time, and whether it may raise its priority."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from raybench.machine.core_checks import usable_cores
from raybench.machine.findings import CannotRead, Look, Tree, field, number_of

_CGROUPS: Final = "sys/fs/cgroup"
_SYS_NICE: Final = 23
"""The number of CAP_SYS_NICE (capabilities(7))."""
_NICE_WANTED: Final = 30
"""RLIMIT_NICE for niceness -10, which `priority.take_priority` takes: 20 less the niceness (getrlimit(2))."""
_REAL_TIME_WANTED: Final = 1
"""RLIMIT_RTPRIO for the lowest of real time, which `priority.in_real_time` takes."""
_LIMITS: Final = (
    ("take niceness -10", "RLIMIT_NICE", "Max nice priority", _NICE_WANTED),
    ("ask servers in real time", "RLIMIT_RTPRIO", "Max realtime priority", _REAL_TIME_WANTED),
)


class Quota(NamedTuple):
    """Processor time that a control group may use, in cores; ``group``: its folder below the root."""

    cores: float
    group: str


def limit_checks(tree: Tree) -> Mapping[str, Callable[[], Look]]:
    """The checks of limits, by name."""
    return {"quota": partial(quota, tree), "priority": partial(priority, tree)}


def quota(tree: Tree) -> Look:
    """Under a quota a process stands still until the period ends, once its share of it is used."""
    groups = cpu_groups(tree)
    quotas = [found for group in groups if (found := _quota_of(tree, group)) is not None]
    if not quotas:
        return Look("no limit of processor time")
    least, usable = min(quotas), len(usable_cores(tree))
    told = f"{least.cores:.3g} cores' time a period, by {PurePosixPath('/', least.group)}; {usable} may be used"
    stalled = throttled_ns(tree, groups)
    if stalled is not None:
        told += f"; stood still for {stalled / 1e9:,.1f} s since it began"
    return Look(
        told,
        "have it lifted (cpu.max: max; docker without --cpus; no CPU limit of the pod); give whole cores by a cpuset",
    )


def priority(tree: Tree) -> Look:
    """Whether what measures may go before the rest of the machine: niceness -10, and real time to ask servers in."""
    capabilities = field(tree.fields("proc/self/status"), "CapEff", "proc/self/status")
    try:
        may = bool(int(capabilities, 16) >> _SYS_NICE & 1)
    except ValueError:
        raise CannotRead(f"/proc/self/status: CapEff {capabilities[:40]!r} is no number") from None
    if may:
        return Look("a visit may take niceness -10, and ask servers in real time")
    refused = [
        f"{what} ({name} {soft})"
        for what, name, line, wanted in _LIMITS
        if (soft := _soft_limit(tree, line)) != "unlimited" and number_of(soft, "proc/self/limits") < wanted
    ]
    if not refused:
        return Look("a visit may take niceness -10, and ask servers in real time, by its limits")
    return Look(
        f"a visit may not {' or '.join(refused)}, without CAP_SYS_NICE: whatever else runs is its equal",
        f"start Ray as root (in a container with SYS_NICE), or after ulimit -e {_NICE_WANTED}; ulimit -r "
        f"{_REAL_TIME_WANTED} (limits.conf: nice -10, rtprio {_REAL_TIME_WANTED})",
    )


def _soft_limit(tree: Tree, name: str) -> str:
    lines = tree.text("proc/self/limits").splitlines()
    return next((line.removeprefix(name).split()[0] for line in lines if line.startswith(f"{name} ")), "0")


def cpu_groups(tree: Tree) -> list[str]:
    """The folders of the control groups that limit this process's processor time, its own and those above.

    Raises `CannotRead` where no file says which they are.
    """
    found: list[str] = []
    for line in tree.text("proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "cpu" in controllers.split(","):
            mount = next((m for m in (controllers, "cpu") if tree.has(f"{_CGROUPS}/{m}")), None)
        elif number == "0" and not controllers:
            # Version 2; beside version 1 it is mounted apart, mostly without the controller.
            mount = "unified" if tree.has(f"{_CGROUPS}/unified") else ""
        else:
            continue
        if mount is not None:
            found += _with_those_above(tree, f"{_CGROUPS}/{mount}".rstrip("/"), path)
    return found


def throttled_ns(tree: Tree, groups: list[str]) -> int | None:
    """For how long processes of these groups have stood still for want of quota; the most of any, None if none says."""
    found: list[int] = []
    for group in groups:
        try:
            fields = tree.fields(f"{group}/cpu.stat")
            if "throttled_usec" in fields:
                found.append(1000 * number_of(fields["throttled_usec"], f"{group}/cpu.stat"))
            elif "throttled_time" in fields:  # version 1, of all its processors together
                found.append(number_of(fields["throttled_time"], f"{group}/cpu.stat"))
        except CannotRead:
            continue
    return max(found, default=None)


def _with_those_above(tree: Tree, mount: str, path: str) -> Iterator[str]:
    group = PurePosixPath(path.lstrip("/"))
    if ".." in group.parts:
        group = PurePosixPath()
    for one in (group, *group.parents):
        folder = mount if one == PurePosixPath() else f"{mount}/{one}"
        if tree.has(folder):  # in a container its path may be that of the host, where only its own group is mounted
            yield folder


def _quota_of(tree: Tree, group: str) -> Quota | None:
    if tree.has(f"{group}/cpu.max"):
        where = f"{group}/cpu.max"
        share, _, period = tree.text(where).partition(" ")
        if share == "max":
            return None
        return Quota(number_of(share, where) / max(1, number_of(period or "100000", where)), group)
    if tree.has(f"{group}/cpu.cfs_quota_us"):
        allowed = tree.number(f"{group}/cpu.cfs_quota_us")
        if allowed < 0:
            return None
        return Quota(allowed / max(1, tree.number(f"{group}/cpu.cfs_period_us")), group)
    return None  # a root group has no limit of its own
