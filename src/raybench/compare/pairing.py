"""What of two runs is compared: the configurations, requests and references that both have, and their visits.

The wall clock is compared, the time until the device had finished; of language models the whole request, the prefill
and the mean decoding step, each for itself.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from raybench.analysis import Tables, shipped_sql
from raybench.compare.changes import Visit
from raybench.compare.comparison import LeftOut
from raybench.records import InputError

_KEPT = pa.schema([("configuration", pa.string()), ("task", pa.string()), ("request", pa.int32())])


Pair = tuple[str, str]
"""A configuration and the reference strategy that it was measured beside."""


class Measured(NamedTuple):
    """What one run says of the requests that are compared, by configuration and measure; relative: by reference too."""

    absolute: dict[tuple[str, str], dict[int, Visit]]
    relative: dict[tuple[Pair, str], dict[int, Visit]]


def comparable(a: Tables, b: Tables) -> tuple[list[str], list[LeftOut]]:
    """The configurations complete in both, in A's order, and what became of the others.

    Raises InputError if there is none.
    """
    state = [{row["configuration"]: row for row in run.rows("FROM completeness")} for run in (a, b)]
    if not state[0].keys() & state[1].keys():
        raise InputError(f"{b.root}: no configuration in common with {a.root}; compare two runs of the same plan")
    names, left_out = [], []
    for name in dict.fromkeys([*state[0], *state[1]]):
        reasons = [_missing(run.get(name), label) for run, label in zip(state, "AB", strict=True)]
        if why := [reason for reason in reasons if reason]:
            in_a, in_b = (run.get(name) for run in state)
            lost = in_a is not None and in_a["complete"] and not (in_b is not None and in_b["complete"])
            ended = any(row is not None and not row["complete"] and row["failure"] for row in (in_a, in_b))
            left_out.append(LeftOut(name, "; ".join(why), lost, ended))
        else:
            names.append(name)
    if not names:
        raise InputError(
            f"{b.root}: no configuration is complete both there and in {a.root}; finish the runs by --resume"
        )
    return names, left_out


def compared_requests(a: Tables, b: Tables, names: Sequence[str]) -> tuple[tuple[pa.Table, pa.Table], bool, list[str]]:
    """Which (configuration, task, request) of each run are compared: those that both served.

    Also whether a number stands for the same request in both, so that visits may be paired, and what to say of it.
    """
    served: list[dict[str, dict[tuple[str, int], tuple[int, int, int]]]] = []
    for one in (a, b):
        by_name: dict[str, dict[tuple[str, int], tuple[int, int, int]]] = {name: {} for name in names}
        columns = "configuration, task, request, tokens, batch, coalesce(output_tokens, 0) AS generated"
        for row in one.rows(f"SELECT DISTINCT {columns} FROM timed"):  # noqa: S608  fixed names
            if row["configuration"] in by_name:
                size = row["tokens"], row["batch"], row["generated"]
                by_name[row["configuration"]][row["task"], row["request"]] = size
        served.append(by_name)
    notes = []
    if a.description.workload != b.description.workload:
        notes.append("The workloads differ, so no request is the same in both: all requests of each run are compared.")
        return (_kept(served[0]), _kept(served[1])), False, notes
    in_a, in_b = (run.description.plan.requests for run in (a, b))
    if in_a != in_b:
        # Numbers run on over the rounds: what both served is the longer rounds' first few visits.
        notes.append(
            f"A round is {in_a} requests of each configuration in A, {in_b} in B, so rounds are not of the same ones: "
            "all requests of each run are compared."
        )
        return (_kept(served[0]), _kept(served[1])), False, notes
    if any(size != served[1][name].get(request, size) for name in names for request, size in served[0][name].items()):
        # The same description, other texts behind it.
        notes.append("Requests of one number differ in length: all requests of each run are compared.")
        return (_kept(served[0]), _kept(served[1])), False, notes
    shared = [
        {name: {k: v for k, v in s[name].items() if all(k in o[name] for o in served)} for name in names}
        for s in served
    ]
    apart = [name for name in names if not shared[0][name]]
    for name in apart:
        for mine, all_of_mine in zip(shared, served, strict=True):
            mine[name] = all_of_mine[name]
    if apart:
        notes.append(f"No request in common, so all of each run are compared: {', '.join(apart)}.")
    fewer = [name for name in names if name not in apart and any(len(s[name]) > len(shared[0][name]) for s in served)]
    if fewer:
        notes.append(f"Compared on the requests that both runs served, not on all: {', '.join(fewer)}.")
    return (_kept(shared[0]), _kept(shared[1])), True, notes


def measured(tables: Tables, kept: pa.Table) -> Measured:
    """The visits of a run, from the compared requests only; over a connection of its own, whose views it narrows."""
    absolute: dict[tuple[str, str], dict[int, Visit]] = defaultdict(dict)
    relative: dict[tuple[Pair, str], dict[int, Visit]] = defaultdict(dict)
    # In the independent design the two sides of a ratio may come from different GPUs: rounds are the unit then.
    independent = tables.description.plan.design == "independent"
    with tables.reading(), contextlib.closing(tables.connect()) as connection:
        connection.register("compared", kept)
        connection.execute(shipped_sql("compare_requests"))
        for row in connection.sql(shipped_sql("compare_visits")).to_arrow_table().to_pylist():
            key = row["configuration"], row["measure"]
            absolute[key][row["round"]] = Visit(row["device"], row["requests"], row["wall"])
        for row in connection.sql("FROM visit_ratios").to_arrow_table().to_pylist():
            name, measure, round_index = row["configuration"], row["measure"], row["round"]
            served = (absolute[name, measure][round_index].served, row["n"])
            pair = name, row["reference_strategy"]
            device = "any" if independent else row["device"]
            relative[pair, measure][round_index] = Visit(device, served, row["wall"])
    return Measured(absolute, relative)


class Parts(NamedTuple):
    """What a configuration's ratio to the baseline is made of: a ratio, times the average of ``links`` for a chain."""

    first: Pair
    links: tuple[Pair, ...] = ()

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All of them."""
        return self.first, *self.links


def common_parts(a: Tables, b: Tables, names: Sequence[str]) -> tuple[str, dict[str, Parts]]:
    """The baseline, which is the first of A's references, and what each configuration's ratio to it is made of.

    The baseline is one for all: against different references a change of the reference would look like one of
    what is compared with it. Only what has the same references, complete, in both runs.
    """
    baseline = a.description.plan.references[0]
    of_a, of_b = (
        {
            c.configuration: (c.via, tuple(r.configuration for r in c.references))
            for c in run.description.comparisons
            if c.reference_strategy == baseline
        }
        for run in (a, b)
    )
    kept = {
        name: of_a[name]
        for name in names
        if name in of_a and of_a[name] == of_b.get(name) and set(of_a[name][1]) <= set(names)
    }
    found = {name: Parts((name, baseline)) for name, (via, _) in kept.items() if via is None}
    for name, (via, used) in kept.items():
        if via is not None and all(other in found for other in used):
            found[name] = Parts((name, via), tuple((other, baseline) for other in used))
    return baseline, {name: found[name] for name in names if name in found}


def _missing(row: Mapping[str, Any] | None, label: str) -> str:
    if row is None:
        return f"not in {label}"
    if row["complete"]:
        return ""
    why = row["failure"] or "not measured yet"
    return f"incomplete in {label}: {row['rounds_done']} of {row['rounds_planned']} rounds; {why}"


def _kept(by_name: Mapping[str, Iterable[tuple[str, int]]]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"configuration": name, "task": task, "request": request}
            for name, requests in by_name.items()
            for task, request in requests
        ],
        _KEPT,
    )
