"""What of two runs is compared: the configurations and references that both have, and their visits.

The wall clock is compared, the time until the device had finished; of language models the whole request, the prefill
and the mean decoding step, each for itself.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from raybench.analysis import Views, make_kept, shipped_sql
from raybench.compare.changes import Visit
from raybench.compare.comparison import LeftOut
from raybench.compare.requests import Part
from raybench.records import InputError, count
from raybench.report import brief_failure

Pair = tuple[str, str]
"""A configuration and the reference strategy that it was measured beside."""


class Measured(NamedTuple):
    """What one run says of the requests that are compared, by configuration and measure; relative: by reference too."""

    absolute: dict[tuple[str, str], dict[int, Visit]]
    relative: dict[tuple[Pair, str], dict[int, Visit]]


def comparable(a: Views, b: Views) -> tuple[list[str], list[LeftOut]]:
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


def measured(run: Views, part: Part | None) -> Measured:
    """The visits of a run, from the compared requests only: ``part``, or all of them."""
    if part is None:
        return _measured(run.query, run)
    if (rounds := part.whole_rounds()) is not None:  # as where one run went on for longer: what is kept tells it
        return _measured(run.query, run, rounds)
    with run.reading(), contextlib.closing(run.connect()) as connection:
        connection.register("compared_rounds", part.rounds)
        connection.register("compared_singly", part.singly)
        connection.execute(shipped_sql("compare_requests"))
        for file in ("completeness", "visit_ratios"):
            make_kept(connection, file)
        return _measured(lambda sql: connection.sql(sql).to_arrow_table(), run)


def _measured(query: Callable[[str], pa.Table], run: Views, rounds: frozenset[int] | None = None) -> Measured:
    """Of what ``query`` is answered from; of these ``rounds`` only, where they are given."""
    absolute: dict[tuple[str, str], dict[int, Visit]] = defaultdict(dict)
    relative: dict[tuple[Pair, str], dict[int, Visit]] = defaultdict(dict)
    # In the independent design the two sides of a ratio may come from different GPUs: rounds are the unit then.
    independent = run.description.plan.design == "independent"
    for row in query(shipped_sql("compare_visits")).to_pylist():
        key = row["configuration"], row["measure"]
        if rounds is None or row["round"] in rounds:
            absolute[key][row["round"]] = Visit(row["device"], (row["n"], row["requests"]), row["wall"])
    for row in query("FROM visit_ratios").to_pylist():
        name, measure, round_index = row["configuration"], row["measure"], row["round"]
        if rounds is not None and round_index not in rounds:
            continue
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


def common_parts(a: Views, b: Views, names: Sequence[str]) -> tuple[str, dict[str, Parts]]:
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
    why = brief_failure(row["failure"]) if row["failure"] else "not measured yet"
    return f"incomplete in {label}: {row['rounds_done']} of {count(row['rounds_planned'], 'round')}; {why}"
