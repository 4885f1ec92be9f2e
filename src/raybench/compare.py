"""Two runs of one plan, B against A, for regressions: what became slower or faster, or surely stayed the same.

Absolute: log mean latency of a visit, B less A. A machine whose speed differs between the runs is inside it.
Relative: log ratio to the reference of the same visit, B less A. Drift cancels; so does a slowdown of all alike.
Visits that served the same requests are paired by round (t test), else all visits are compared unpaired (Welch).

Both are given, each with Holm over the configurations. Pairing takes out what the requests of a round have in
common, their token lengths above all: unpaired, that spread would count as uncertainty twice over, and a run compared
with itself would be inconclusive. The wall clock is compared, the time until the device had finished.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import shlex
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import pyarrow as pa
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from raybench import stats
from raybench.records import InputError
from raybench.report import percent
from raybench.stats import Estimate, Verdict
from raybench.tables import Tables, connect, shipped_sql
from raybench.terminal import open_console, print_line

By = Literal["relative", "absolute"]
Method = Literal["paired", "welch", "devices"]
"""``paired``: one difference a round. ``welch``: visits of either run, unpaired. ``devices``: one difference a GPU."""

FAIL_ON: Final = ("slower", "faster", "inconclusive")

_ROUNDING: Final = 1e-12
"""Log ratios this close to 0 differ from it by rounding only."""


@dataclass(frozen=True, slots=True)
class Change:
    """B / A with its uncertainty: 1.1 is 10 % slower in B. ``p_holm``: p after Holm over all rows of its kind.

    ``more_rounds``: how many more of each run would settle an inconclusive one (`stats.rounds_to_settle`).
    """

    estimate: Estimate
    method: Method
    p_equivalence: float
    p_holm: float
    verdict: Verdict
    more_rounds: int | None

    def as_json(self) -> dict[str, Any]:
        """Ratios, p-values and counts; None for what one visit leaves unknown."""
        interval = self.estimate.interval()
        known = math.isfinite(interval.high)
        return {
            "ratio": self.estimate.ratio,
            "low": interval.low if known else None,
            "high": interval.high if known else None,
            "visits": self.estimate.n,
            "method": self.method,
            "p": _known(self.estimate.p_value()),
            "p_holm": _known(self.p_holm),
            "p_equivalence": _known(self.p_equivalence),
            "verdict": self.verdict,
            "more_rounds": self.more_rounds,
        }


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration in both runs.

    ``a_ms``, ``b_ms``: mean wall time of the compared requests, milliseconds. ``reference``: the strategy that
    ``relative`` is relative to; both None where no reference is complete in both runs.
    """

    configuration: str
    deployment: str
    a_ms: float
    b_ms: float
    absolute: Change
    reference: str | None
    relative: Change | None

    def judged(self, by: By) -> Change:
        """The change that counts: by ``relative``, the absolute one where no relative one exists."""
        return self.relative if by == "relative" and self.relative is not None else self.absolute


class LeftOut(NamedTuple):
    """A configuration that is not compared, and why."""

    configuration: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunComparison:
    """B against A. ``margin`` is A's; ``differences``: in what the runs differ by description and devices."""

    a: Path
    b: Path
    margin: float
    differences: tuple[str, ...]
    notes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    rows: tuple[Row, ...]

    def with_verdict(self, verdicts: Iterable[str], by: By = "relative") -> list[Row]:
        """The rows whose change, `Row.judged` ``by``, has one of the verdicts.

        Relative and absolute changes are two families for Holm: where some rows have a relative change and others
        only an absolute one, each of the two errs with the probability that is stated.
        """
        wanted = set(verdicts)
        return [row for row in self.rows if row.judged(by).verdict in wanted]

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON values; ratios are B / A, times are milliseconds."""
        return {
            "a": str(self.a),
            "b": str(self.b),
            "margin": self.margin,
            "confidence": 0.95,
            "differences": list(self.differences),
            "notes": list(self.notes),
            "left_out": [one._asdict() for one in self.left_out],
            "rows": [
                {
                    "configuration": row.configuration,
                    "deployment": row.deployment,
                    "a_ms": row.a_ms,
                    "b_ms": row.b_ms,
                    "absolute": row.absolute.as_json(),
                    "reference": row.reference,
                    "relative": None if row.relative is None else row.relative.as_json(),
                }
                for row in self.rows
            ],
        }


class _Visit(NamedTuple):
    """One number of one visit, with what must agree for it to be paired: where it ran and what it served."""

    device: str
    served: object
    log: float


_Visits = Mapping[int, _Visit]
"""Of one configuration in one run, by round."""


class _Measured(NamedTuple):
    """What one run says of the requests that are compared."""

    mean_ms: dict[str, float]
    absolute: dict[str, dict[int, _Visit]]
    relative: dict[tuple[str, str], dict[int, _Visit]]


def compare(a: Tables, b: Tables) -> RunComparison:
    """Every configuration that is complete in both runs: B / A.

    Raises InputError if there is none.
    """
    names, left_out = _comparable(a, b)
    requests, matched, notes = _requests(a, b, names)
    in_a, in_b = (_measured(run, kept) for run, kept in zip((a, b), requests, strict=True))
    if a.root.resolve() == b.root.resolve():
        notes.append("A and B are the same run.")
    if "independent" in (a.description["plan"]["design"], b.description["plan"]["design"]):
        notes.append(
            "A configuration and its reference were measured in different visits (independent design): drift is in "
            "the relative change too."
        )
    references = {
        name: (strategy, used)
        for name, (strategy, used) in _references(a, b, names).items()
        if in_a.relative.get((name, strategy)) and in_b.relative.get((name, strategy))
    }
    absolute = {name: _change(in_a.absolute[name], in_b.absolute[name], matched) for name in names}
    relative = {
        name: _change(in_a.relative[name, strategy], in_b.relative[name, strategy], matched)
        for name, (strategy, _) in references.items()
    }
    # A pair and its mirror, separate against full and full against separate, are one claim.
    pairs = {name: frozenset([name, *used]) for name, (_, used) in references.items()}
    absolutes = _judge(absolute, {name: frozenset([name]) for name in names}, a.margin)
    relatives = _judge(relative, pairs, a.margin)
    deployments = {c["name"]: c["deployment"] for c in a.description["configurations"]}
    return RunComparison(
        a.root,
        b.root,
        a.margin,
        tuple(differences(a, b)),
        tuple(notes),
        tuple(left_out),
        tuple(
            Row(
                name,
                deployments[name],
                in_a.mean_ms[name],
                in_b.mean_ms[name],
                absolutes[name],
                references[name][0] if name in references else None,
                relatives.get(name),
            )
            for name in names
        ),
    )


def differences(a: Tables, b: Tables) -> list[str]:
    """In what the runs differ, one line each: plan, model, workload, configurations, versions, machines, devices."""
    old, new = _keyed(a.description), _keyed(b.description)
    found = [line for key in old for line in _walk(key, old[key], new[key])]
    here, there = _environment(a.description), _environment(b.description)
    found += [
        f"{key}: {_listed(here.get(key, ()))} in A, {_listed(there.get(key, ()))} in B"
        for key in sorted(here.keys() | there.keys())
        if here.get(key) != there.get(key)
    ]
    in_a, in_b = (run.rows("SELECT DISTINCT device_name, device FROM visits ORDER BY ALL") for run in (a, b))
    named_a, named_b = ([row["device_name"] for row in rows] for rows in (in_a, in_b))
    if named_a != named_b:
        found.append(f"devices: {_counted(named_a)} in A, {_counted(named_b)} in B")
    elif in_a != in_b:
        found.append(f"devices: {_counted(named_a)} in both, but not the same ones")
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``raybench compare``."""
    parser.add_argument("a", type=Path, metavar="RUN_A", help="the run's folder: what was")
    parser.add_argument("b", type=Path, metavar="RUN_B", help="the run's folder: what is compared with it")
    parser.add_argument(
        "--fail-on",
        type=_verdicts,
        action="extend",
        default=[],
        metavar="VERDICT",
        help=f"exit 1 if a configuration is that: {', '.join(FAIL_ON)}; several by commas or by repeating it",
    )
    parser.add_argument(
        "--by",
        choices=("relative", "absolute"),
        default="relative",
        help="which change --fail-on and the sentences look at: relative to the configuration's reference (and "
        "absolute where it has none), which a drifting machine does not touch; or absolute (default: relative)",
    )
    parser.add_argument("--json", action="store_true", help="everything as JSON")


def run(options: argparse.Namespace) -> int:
    """``raybench compare``: 1 if a row has a verdict of ``--fail-on``, else 0.

    Raises InputError for what is no run, or runs with nothing to compare.
    """
    found = compare(Tables(options.a), Tables(options.b))
    by: By = options.by
    failed = found.with_verdict(options.fail_on, by)
    if options.json:
        failing = {"by": by, "fail_on": options.fail_on, "failed": [row.configuration for row in failed]}
        sys.stdout.write(json.dumps({**found.as_json(), **failing}, indent=2, allow_nan=False) + "\n")
    else:
        console = open_console()
        show(found, console, by)
        if failed:
            print_line(console, f"Failed on {', '.join(options.fail_on)}: {_names(failed)}")
    return 1 if failed else 0


def show(found: RunComparison, console: Console, by: By = "relative") -> None:
    """What a person reads: what differs, the table, one sentence for each finding, what to do next."""
    print_line(console, f"A: {found.a}")
    print_line(console, f"B: {found.b}")
    if found.differences:
        print_line(console, "The runs differ in more than time; a change below may come from it:")
        for line in found.differences:
            print_line(console, f"  {line}")
    for line in found.notes:
        print_line(console, line)
    for name, reason in found.left_out:
        print_line(console, f"Left out: {name}: {reason}")
    table = Table(title="B against A (wall time; 95 % intervals)", box=box.SIMPLE, title_justify="left")
    for header in ("configuration", "A, ms", "B, ms", "absolute", "", "relative", "", "to"):
        table.add_column(header, justify="right" if header.endswith("ms") else "left")
    for row in found.rows:
        relative = ("-", "", "no reference") if row.relative is None else (*_cells(row.relative), row.reference)
        cells = [row.configuration, f"{row.a_ms:.3f}", f"{row.b_ms:.3f}", *_cells(row.absolute), *map(str, relative)]
        table.add_row(*map(escape, cells))
    console.print(table)
    for line in [*_sentences(found, by), "", *_next_steps(found, by)]:
        print_line(console, line)


def _sentences(found: RunComparison, by: By) -> list[str]:
    lines = []
    for row in found.with_verdict(("slower", "faster"), by):
        change = row.judged(by)
        against = f"relative to {row.reference}" if change is row.relative else "absolute"
        lines.append(
            f"{row.configuration} is {change.verdict} in B, {against}: {_interval(change)}, "
            f"p after Holm {_p(change.p_holm)}."
        )
    margin = f"±{found.margin * 100:g} %"
    if same := found.with_verdict(["equivalent"], by):
        lines.append(f"Equivalent within {margin}, {_kinds(same, by)}: {_names(same)}.")
    if unsure := found.with_verdict(["inconclusive"], by):
        lines.append(f"Inconclusive, {_kinds(unsure, by)}: {_names(unsure)}.")
    only = [row for row in found.rows if row.relative is None]
    if only:
        lines.append(f"Only the absolute change exists, no reference being complete in both runs: {_names(only)}.")
    hidden = [
        row
        for row in found.rows
        if by == "relative"
        and row.relative is not None
        and row.relative.verdict == "equivalent"
        and row.absolute.verdict in ("slower", "faster")
    ]
    if hidden:
        verdicts = " or ".join(sorted({row.absolute.verdict for row in hidden}))
        lines.append(
            f"Absolute {verdicts}, though not against the reference: {_names(hidden)}. The machine, or something that "
            "all configurations share, changed speed."
        )
    return lines


def _next_steps(found: RunComparison, by: By) -> list[str]:
    lines = []
    moved = found.with_verdict(("slower", "faster"), by)
    if any(row.judged(by) is row.relative for row in moved):
        lines.append(
            "A relative change is one of the configuration or of its reference: the absolute column tells which."
        )
    if any(row.judged(by) is row.absolute for row in moved):
        lines.append("An absolute change may be the machine's: run B's plan again, or both in turn, and compare.")
    if unsure := found.with_verdict(["inconclusive"], by):
        more = [row.judged(by).more_rounds for row in unsure]
        known = [rounds for rounds in more if rounds is not None]
        if known:
            lines.append(f"About {max(known)} more rounds of each run would settle what is inconclusive (--rounds).")
        if len(known) < len(more):
            lines.append("What one visit, or GPUs that differ too much, leave open needs more rounds or more GPUs.")
    if any("incomplete" in reason for _, reason in found.left_out):
        lines.append("Finish the incomplete run by --resume to compare what was left out.")
    return [*lines, f"All tables of a run: raybench tables {shlex.quote(str(found.b))}"]


def _comparable(a: Tables, b: Tables) -> tuple[list[str], list[LeftOut]]:
    """The configurations complete in both, in A's order, and what became of the others."""
    state = [{row["configuration"]: row for row in run.rows("FROM completeness")} for run in (a, b)]
    if not state[0].keys() & state[1].keys():
        raise InputError(f"{b.root}: no configuration in common with {a.root}; compare two runs of the same plan")
    names, left_out = [], []
    for name in dict.fromkeys([*state[0], *state[1]]):
        reasons = [_missing(run.get(name), label) for run, label in zip(state, "AB", strict=True)]
        if why := [reason for reason in reasons if reason]:
            left_out.append(LeftOut(name, "; ".join(why)))
        else:
            names.append(name)
    if not names:
        raise InputError(
            f"{b.root}: no configuration is complete both there and in {a.root}; finish the runs by --resume"
        )
    return names, left_out


def _missing(row: Mapping[str, Any] | None, label: str) -> str:
    if row is None:
        return f"not in {label}"
    if row["complete"]:
        return ""
    why = row["failure"] or "not measured yet"
    return f"incomplete in {label}: {row['rounds_done']} of {row['rounds_planned']} rounds; {why}"


def _requests(a: Tables, b: Tables, names: Sequence[str]) -> tuple[tuple[pa.Table, pa.Table], bool, list[str]]:
    """Which (configuration, task, request) of each run are compared: those that both served.

    Also whether a number stands for the same request in both, so that visits may be paired, and what to say of it.
    """
    served: list[dict[str, dict[tuple[str, int], int]]] = []
    for one in (a, b):
        by_name: dict[str, dict[tuple[str, int], int]] = {name: {} for name in names}
        for row in one.rows("SELECT DISTINCT configuration, task, request, tokens FROM timed"):
            if row["configuration"] in by_name:
                by_name[row["configuration"]][row["task"], row["request"]] = row["tokens"]
        served.append(by_name)
    notes = []
    if a.description["workload"] != b.description["workload"]:
        notes.append("The workloads differ, so no request is the same in both: all requests of each run are compared.")
        return (_kept(served[0]), _kept(served[1])), False, notes
    if any(
        tokens != served[1][name].get(request, tokens) for name in names for request, tokens in served[0][name].items()
    ):
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


_KEPT = pa.schema([("configuration", pa.string()), ("task", pa.string()), ("request", pa.int32())])


def _kept(by_name: Mapping[str, Iterable[tuple[str, int]]]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"configuration": name, "task": task, "request": request}
            for name, requests in by_name.items()
            for task, request in requests
        ],
        _KEPT,
    )


def _measured(tables: Tables, kept: pa.Table) -> _Measured:
    """The visits of a run, from the compared requests only; over a connection of its own, whose views it narrows."""
    mean_ms: dict[str, list[tuple[int, float]]] = defaultdict(list)
    absolute: dict[str, dict[int, _Visit]] = defaultdict(dict)
    relative: dict[tuple[str, str], dict[int, _Visit]] = defaultdict(dict)
    with contextlib.closing(connect(tables.root)) as connection:
        connection.register("compared", kept)
        connection.execute(shipped_sql("compare_requests"))
        for row in connection.sql(shipped_sql("compare_visits")).to_arrow_table().to_pylist():
            name = row["configuration"]
            mean_ms[name].append((row["n"], row["mean_ms"]))
            absolute[name][row["round"]] = _Visit(row["device"], row["requests"], row["wall"])
        for row in connection.sql("FROM visit_ratios").to_arrow_table().to_pylist():
            name, round_index = row["configuration"], row["round"]
            served = (absolute[name][round_index].served, row["n"])
            key = name, row["reference_strategy"]
            relative[key][round_index] = _Visit(row["device"], served, row["wall"])
    means = {name: sum(n * ms for n, ms in v) / sum(n for n, _ in v) for name, v in mean_ms.items()}
    return _Measured(means, absolute, relative)


def _references(a: Tables, b: Tables, names: Sequence[str]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Each configuration's reference: the strategy, and the configurations that stand for it.

    The first of the plan's references that was measured beside it (not by way of another), the same and complete in
    both runs.
    """
    of_a, of_b = (
        {
            (c["configuration"], c["reference_strategy"]): tuple(r["configuration"] for r in c["references"])
            for c in run.description["comparisons"]
            if c["via"] is None
        }
        for run in (a, b)
    )
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for strategy in a.description["plan"]["references"]:
        for name in names:
            used = of_a.get((name, strategy))
            if name not in found and used and used == of_b.get((name, strategy)) and set(used) <= set(names):
                found[name] = (strategy, used)
    return found


def _change(a: _Visits, b: _Visits, matched: bool) -> tuple[Estimate, Method]:
    """B less A, by the sharpest comparison that the visits allow. ``matched``: equal requests are the same inputs."""
    devices_a, devices_b = ({visit.device for visit in run.values()} for run in (a, b))
    paired = matched and a.keys() == b.keys() and all(a[r].served == b[r].served for r in a)
    one_each = len(devices_a) == len(devices_b) == 1
    if paired and (one_each or all(a[r].device == b[r].device for r in a)):
        changes: dict[str, list[float]] = defaultdict(list)
        for r in sorted(a):
            changes[a[r].device].append(b[r].log - a[r].log)
        return _rounded(stats.from_devices(changes)), "paired"
    by_device_a, by_device_b = _by_device(a), _by_device(b)
    if devices_a == devices_b and len(devices_a) > 1:
        return _rounded(_over_devices(by_device_a, by_device_b)), "devices"
    parts = [stats.from_devices(by_device_b), stats.from_devices(by_device_a)]
    return _rounded(stats.combine(parts, [1, -1])), "welch"


def _by_device(visits: _Visits) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for r in sorted(visits):
        found[visits[r].device].append(visits[r].log)
    return found


def _over_devices(a: Mapping[str, Sequence[float]], b: Mapping[str, Sequence[float]]) -> Estimate:
    """The same GPUs in both runs: one change for each, then a t interval over GPUs. Their own speed cancels."""
    each = {
        device: stats.combine([stats.from_visits(b[device]), stats.from_visits(a[device])], [1, -1]) for device in a
    }
    over = stats.from_devices({device: [part.log_ratio] for device, part in each.items()})
    of_visits = math.fsum(part.standard_error**2 for part in each.values()) / len(each) ** 2
    floor = math.sqrt(max(0.0, over.standard_error**2 - of_visits))
    return dataclasses.replace(over, n=sum(part.n for part in each.values()), strata=2, floor=floor)


def _rounded(estimate: Estimate) -> Estimate:
    return dataclasses.replace(estimate, log_ratio=0.0) if abs(estimate.log_ratio) <= _ROUNDING else estimate


def _judge(
    found: Mapping[str, tuple[Estimate, Method]], claims: Mapping[str, frozenset[str]], margin: float
) -> dict[str, Change]:
    """Verdicts after Holm over the claims; two configurations may share one."""
    p_values = {claims[name]: estimate.p_value() for name, (estimate, _) in found.items()}
    adjusted = dict(zip(p_values, stats.holm(list(p_values.values())), strict=True))
    changes = {}
    for name, (estimate, method) in found.items():
        p_holm = adjusted[claims[name]]
        verdict = stats.verdict(estimate, margin=margin, adjusted_p=p_holm)
        more = None
        if verdict == "inconclusive":
            more = stats.rounds_to_settle(estimate, margin=margin, claims=len(p_values))
        changes[name] = Change(estimate, method, estimate.equivalence_p(margin), p_holm, verdict, more)
    return changes


def _keyed(description: Mapping[str, Any]) -> dict[str, Any]:
    """What of a description is compared, lists of named things by their names."""
    return {
        "plan": description["plan"],
        "model": description["model"],
        "workload": description["workload"],
        "configurations": {c["name"]: c for c in description["configurations"]},
        "comparisons": {
            f"{c['configuration']} to {c['reference_strategy']}": c["references"] for c in description["comparisons"]
        },
    }


def _walk(where: str, a: Any, b: Any) -> list[str]:
    """The leaves that differ, one line each. A thing of a list of named ones that only one run has is only named."""
    if a == b:
        return []
    if isinstance(a, dict) and isinstance(b, dict):
        if where in ("configurations", "comparisons"):
            lines = [f"{where} only in A: {', '.join(k for k in a if k not in b)}"] if a.keys() - b.keys() else []
            lines += [f"{where} only in B: {', '.join(k for k in b if k not in a)}"] if b.keys() - a.keys() else []
            return lines + [line for key in a if key in b for line in _walk(f"{where}.{key}", a[key], b[key])]
        return [line for key in sorted(a.keys() | b.keys()) for line in _walk(f"{where}.{key}", a.get(key), b.get(key))]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [line for i, (x, y) in enumerate(zip(a, b, strict=True)) for line in _walk(f"{where}[{i}]", x, y)]
    return [f"{where}: {a!r} in A, {b!r} in B"]


_BY_VISITS: Final = ("device", "device_name", "gpu.name", "gpu.uuid")
"""What an environment says of devices; the visits say which were used."""


def _environment(description: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Each setting of the driver and the workers, with every value that it has on any of them."""
    found: dict[str, set[str]] = defaultdict(set)

    def gather(where: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                gather(f"{where}.{key}" if where else key, inner)
        elif where not in _BY_VISITS:
            found[where].add(str(value))

    environment = description["environment"]
    for part in [environment["driver"], *environment["workers"]]:
        gather("", part)
    return {key: tuple(sorted(values)) for key, values in found.items()}


def _verdicts(text: str) -> list[str]:
    found = [part.strip() for part in text.split(",")]
    for part in found:
        if part not in FAIL_ON:
            raise argparse.ArgumentTypeError(f"{part!r} is none of {', '.join(FAIL_ON)}")
    return found


def _cells(change: Change) -> tuple[str, str]:
    return _interval(change), change.verdict


def _interval(change: Change) -> str:
    interval = change.estimate.interval()
    if math.isinf(interval.high):
        return f"{percent(change.estimate.ratio)} [unknown]"
    return f"{percent(change.estimate.ratio)} [{percent(interval.low)}, {percent(interval.high)}]"


def _kinds(rows: Sequence[Row], by: By) -> str:
    kinds = {"relative" if row.judged(by) is row.relative else "absolute" for row in rows}
    return " or ".join(sorted(kinds, reverse=True))


def _names(rows: Iterable[Row]) -> str:
    return ", ".join(row.configuration for row in rows)


def _listed(values: Iterable[str]) -> str:
    return ", ".join(values) or "nothing"


def _counted(names: Sequence[str]) -> str:
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)) or "none"


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _p(value: float) -> str:
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"
