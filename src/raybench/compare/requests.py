"""Which requests of two runs are compared: those that both served.

Rounds are looked at as a whole first, requests one by one only where a round is not the same in both: a run of ten
million requests would be as many objects.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from raybench.analysis import Views, shipped_sql
from raybench.records import count

_REQUEST = ("configuration", "task", "request")
_SIZE = ("tokens", "batch", "output_tokens")

Round = tuple[str, int]
"""A configuration and the number of a round, in whichever blocks it was measured."""


class Part(NamedTuple):
    """What of a run is compared where not all of it: these rounds, and of others these requests.

    ``rounds``: columns configuration, round. ``singly``: configuration, task, request.
    """

    rounds: pa.Table
    singly: pa.Table

    def whole_rounds(self) -> frozenset[int] | None:
        """The rounds, where they are the same of all configurations and there is nothing else; None: there is more."""
        of_name: dict[str, set[int]] = {}
        for row in self.rounds.to_pylist():
            of_name.setdefault(row["configuration"], set()).add(row["round"])
        first, *others = of_name.values() if of_name else [set()]
        return None if self.singly.num_rows or any(other != first for other in others) else frozenset(first)


class Chosen(NamedTuple):
    """What is compared of A and of B (None: all of it) and what to say of that.

    ``matched``: whether a number stands for the same request in both, so that visits may be paired.
    """

    parts: tuple[Part | None, Part | None]
    matched: bool
    notes: list[str]


class _Served(NamedTuple):
    """By block: how many requests of which hashes a configuration served in a round; and the hashes of their sizes."""

    requests: dict[str, tuple[int, str]]
    sizes: dict[str, str]


def compared_requests(a: Views, b: Views, names: Collection[str]) -> Chosen:
    """Of the configurations ``names``: the requests that both runs served, or all where none can be the same."""
    if a.description.workload != b.description.workload:
        return _all("The workloads differ, so no request is the same in both: all requests of each run are compared.")
    in_a, in_b = (run.description.plan.requests for run in (a, b))
    if in_a != in_b:
        # Numbers run on over the rounds: what both served is the longer rounds' first few visits.
        return _all(
            f"A round is {count(in_a, 'request')} of each configuration in A, {in_b} in B, so rounds are not of the "
            "same ones: all requests of each run are compared."
        )
    served = [_served(run, names) for run in (a, b)]
    same = {r for r, of_a in served[0].items() if (of_b := served[1].get(r)) and of_a.requests == of_b.requests}
    others = [[r for r in of_run if r not in same] for of_run in served]
    in_both = {name for name, _ in others[0]} & {name for name, _ in others[1]}
    listed = [_listed(run, [r for r in of_run if r[0] in in_both]) for run, of_run in zip((a, b), others, strict=True)]
    common = listed[0].join(listed[1], list(_REQUEST), join_type="inner", right_suffix=" in B")
    if any(served[0][r].sizes != served[1][r].sizes for r in same) or _differ_in_size(common):
        # The same description, other texts behind it.
        return _all("Requests of one number differ in length: all requests of each run are compared.")
    notes = []
    in_common = {name for name, _ in same} | set(common["configuration"].unique().to_pylist())
    apart = [name for name in names if name not in in_common]
    if apart:
        notes.append(f"No request in common, so all of each run are compared: {', '.join(apart)}.")
    lacking = {name for of_run in others for name, _ in of_run if name not in in_both}
    lacking |= {name for of_run in listed for name in _with_more(of_run, common)}
    if fewer := [name for name in names if name in lacking and name in in_common]:
        notes.append(f"Compared on the requests that both runs served, not on all: {', '.join(fewer)}.")
    if not any(others):
        return Chosen((None, None), True, notes)
    singly = common.select(_REQUEST)
    whole_a, whole_b = (_rounds([*same, *(r for r in of_run if r[0] in apart)]) for of_run in others)
    return Chosen((Part(whole_a, singly), Part(whole_b, singly)), True, notes)


def _all(note: str) -> Chosen:
    return Chosen((None, None), False, [note])


def _served(run: Views, names: Collection[str]) -> dict[Round, _Served]:
    found: dict[Round, _Served] = {}
    wanted = set(names)
    for row in run.rows(shipped_sql("compare_served")):
        if row["configuration"] in wanted:
            one = found.setdefault((row["configuration"], row["round"]), _Served({}, {}))
            one.requests[row["block"]] = row["n"], row["requests"]
            one.sizes[row["block"]] = row["sizes"]
    return found


def _listed(run: Views, rounds: Sequence[Round]) -> pa.Table:
    parameters = [[name for name, _ in rounds], [number for _, number in rounds]]
    return run.query(shipped_sql("compare_listed"), parameters)


def _differ_in_size(common: pa.Table) -> bool:
    return any(pc.any(pc.not_equal(common[column], common[f"{column} in B"])).as_py() for column in _SIZE)


def _with_more(listed: pa.Table, common: pa.Table) -> list[str]:
    """The configurations of which a run served requests that are not among those in common."""
    of_all, of_common = (_counts(table) for table in (listed, common))
    return [name for name, count in of_all.items() if count > of_common.get(name, 0)]


def _counts(table: pa.Table) -> dict[str, int]:
    counts = table["configuration"].value_counts()
    return {one["values"]: one["counts"] for one in counts.to_pylist()}


def _rounds(rounds: Iterable[Round]) -> pa.Table:
    listed = sorted(rounds)
    return pa.table(
        {
            "configuration": pa.array([name for name, _ in listed], pa.string()),
            "round": pa.array([number for _, number in listed], pa.int32()),
        }
    )
