"""``raybench doctor``: what on this machine, or on each node of a cluster, would spoil a measurement."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raybench.machine import Examined, Finding, examine, examine_results
from raybench.records import count
from raybench.report import say, write_json
from raybench.sweep.reading_options import DoctorOptions


def run_doctor(options: DoctorOptions) -> int:
    """Exit code: 0, or 1 where there is a caution. Raises InputError where no cluster answers."""
    examined, here = _examined(options)
    both = [*examined, *([] if here is None else [here])]
    cautions = sum(one.state == "caution" for machine in both for one in machine.findings)
    if options.json:
        write_json([_as_json(machine) for machine in both])
    else:
        for line in doctor_lines(examined, here):
            say(line)
    return 1 if cautions else 0


def doctor_lines(examined: Sequence[Examined], here: Examined | None = None) -> list[str]:
    """What a person reads: a line for each caution, one for each that could not be read, and how many were fine.

    ``here``: of a cluster's nodes, what drives a sweep and is none of them.
    """
    hosts: dict[Finding, list[str]] = {}
    for machine in (*examined, *(() if here is None else (here,))):
        for one in machine.findings:
            hosts.setdefault(one, []).append(machine.host)
    several = len(examined) > 1 or here is not None

    def where(one: Finding) -> str:
        return f"{', '.join(dict.fromkeys(hosts[one]))}: " if several else ""

    cautions = [one for one in hosts if one.state == "caution"]
    unread = [one for one in hosts if one.state == "unknown"]
    lines = [f"caution: {where(one)}{one.name}: {one.found}. To do: {one.remedy}" for one in cautions]
    lines += [f"unknown: {where(one)}{one.name}: {one.found}" for one in unread]
    lines.append(_fine(examined, f" on {count(len(examined), 'node')}" if several else ""))
    if here is not None:
        lines.append(_fine([here], f" on {here.host}, which is to keep the runs,"))
    if not cautions:
        lines.append("Nothing that was seen stands in the way of measuring.")
    return lines


def _fine(machines: Sequence[Examined], where: str) -> str:
    fine = [one.name for machine in machines for one in machine.findings if one.state == "ok"]
    return f"{count(len(fine), 'check')}{where} fine: {', '.join(dict.fromkeys(fine)) or 'none'}."


def _examined(options: DoctorOptions) -> tuple[list[Examined], Examined | None]:
    """This machine, or each node of a cluster; and of a cluster the disk here that is to keep runs, if one is."""
    here, results = socket.gethostname(), options.results if isinstance(options.results, Path) else None
    if options.address is None:
        return [Examined(here, tuple(examine(results)))], None
    from raybench.cluster import examine_nodes  # imports ray

    nodes = examine_nodes(options.address)
    # Runs are written by who drives a sweep, which is this machine, a node of the cluster or not.
    disk = None if results is None else Examined(f"{here} (this machine)", tuple(examine_results(results)))
    return nodes, disk


def _as_json(machine: Examined) -> dict[str, Any]:
    return {"host": machine.host, "findings": [one.as_json() for one in machine.findings]}
