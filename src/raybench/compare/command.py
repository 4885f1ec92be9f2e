"""Two runs of one plan, B against A, for regressions: what became slower or faster, or surely stayed the same.

Absolute: log mean latency of a visit, B less A. A machine whose speed differs between the runs is inside it.
Relative: log ratio to the baseline, B less A. What the machine does to all alike cancels; so does what a change of the
software does to all alike. Both are given for deployments and for configurations, each with Holm over its rows; of
language models by each measure, all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raybench.analysis import MEASURES, Views, chain_of, open_input
from raybench.compare.changes import Compared, Link, Visits, estimate_change, judge
from raybench.compare.comparison import Row, RunComparison
from raybench.compare.differences import differences
from raybench.compare.options import CompareOptions
from raybench.compare.pairing import Measured, Pair, Parts, common_parts, comparable, measured
from raybench.compare.report import ON_OTHER_DEVICES, row_names, show
from raybench.compare.requests import compared_requests
from raybench.records import InputError
from raybench.report import (
    label_of,
    open_console,
    print_line,
    round_seconds,
    write_json,
)
from raybench.store import Location


def compare(a: Views, b: Views, *, devices_alike: bool = False) -> RunComparison:
    """Every deployment and every configuration that is complete in both runs: B / A.

    Where a row's visits were on different devices, in one run on a single one, how far devices differ cannot be seen
    and its interval is unknown; ``devices_alike`` takes devices to differ no more than visits do, all as one.
    Raises InputError if nothing is complete in both.
    """
    names, left_out = comparable(a, b)
    parts_compared, matched, notes = compared_requests(a, b, names)
    both = [measured(run, part) for run, part in zip((a, b), parts_compared, strict=True)]
    if a.root == b.root:
        notes.append("A and B are the same run.")
    if "independent" in (a.description.plan.design, b.description.plan.design):
        notes.append(
            "A configuration and the baseline were measured in different visits (independent design): drift is in "
            "the relative change too."
        )
    if devices_alike:
        notes.append("Devices are taken as alike, as asked: all count as one.")
    baseline, parts = common_parts(a, b, names)
    groups: dict[str, list[str]] = {}
    deployment = {c.name: c.deployment for c in a.description.configurations}
    for name in names:
        groups.setdefault(deployment[name], []).append(name)
    compared = _Compared(both, parts, matched, a.margin, devices_alike)
    configurations = compared.rows({name: [name] for name in names}, deployment)
    lone = list(dict.fromkeys(row.name for row in configurations if row.absolute.unknown == "one device"))
    if lone:
        which = "All" if len(lone) == len(names) else ", ".join(lone)
        notes.insert(0, f"{which}: measured on different devices, in one run on a single one: {ON_OTHER_DEVICES}.")
    return RunComparison(
        a.root,
        b.root,
        a.margin,
        baseline,
        _label(baseline, a),
        tuple(differences(a, b)),
        tuple(notes),
        tuple(left_out),
        compared.rows(groups, {label: label for label in groups}),
        configurations,
        max((s for s in map(round_seconds, (a, b)) if s is not None), default=None),
    )


def _label(baseline: str, run: Views) -> str:
    """What the run's own tables call its reference ``baseline``."""
    return label_of(
        baseline, [{"strategy": c.role, "deployment": c.deployment} for c in run.description.configurations]
    )


class _Compared:
    """What of two runs is compared, and the rows that it gives."""

    def __init__(
        self,
        both: Sequence[Measured],
        parts: Mapping[str, Parts],
        matched: bool,
        margin: float,
        devices_alike: bool,
    ) -> None:
        """``both``: A and B. ``parts``: of the configurations that the plans of both compare with the baseline."""
        self._both, self._parts, self._matched, self._margin = both, parts, matched, margin
        self._devices_alike = devices_alike

    def rows(self, groups: Mapping[str, Sequence[str]], deployment: Mapping[str, str]) -> tuple[Row, ...]:
        """A row for each group of configurations and measure that both runs have, judged beside each other."""
        absolute, relative = {}, {}
        for label, names in groups.items():
            for measure in MEASURES:
                if links := self._absolute(names, measure):
                    absolute[label, measure] = self._estimate(links)
                if links := self._relative(names, measure):
                    relative[label, measure] = self._estimate(links)
        absolutes, relatives = judge(absolute, self._margin), judge(relative, self._margin)
        return tuple(
            Row(label, measure, deployment[label], tuple(groups[label]), change, relatives.get((label, measure)))
            for (label, measure), change in absolutes.items()
        )

    def _estimate(self, links: Sequence[Link]) -> Compared:
        return estimate_change(links, self._matched, self._devices_alike)

    def _absolute(self, names: Sequence[str], measure: str) -> list[Link]:
        """The visits' levels; empty where a run has the measure of none."""
        in_a, in_b = (run.absolute for run in self._both)
        found = {
            name: (in_a[name, measure], in_b[name, measure])
            for name in names
            if (name, measure) in in_a and (name, measure) in in_b
        }
        return [(found, None)] if found else []

    def _relative(self, names: Sequence[str], measure: str) -> list[Link]:
        """The ratios to the baseline; empty where there are none."""
        found = {}
        for name in names:
            part = self._parts.get(name)
            if part is not None and all((k, measure) in run.relative for run in self._both for k in part.pairs):
                links = {link[0]: self._ratio(link, measure) for link in part.links}
                found[name] = self._ratio(part.first, measure), links
        return chain_of(found) if found else []

    def _ratio(self, pair: Pair, measure: str) -> tuple[Visits, Visits]:
        return self._both[0].relative[pair, measure], self._both[1].relative[pair, measure]


def run(before: Location, after: Location, options: CompareOptions) -> int:
    """``raybench compare``: 1 if a row has a verdict of ``--fail-on``, or could not be looked at, else 0.

    Raises InputError for what is no run or a damaged one, or runs with nothing to compare.
    """
    found = compare(open_input(before, Views), open_input(after, Views), devices_alike=options.devices_alike)
    by, each = options.by, options.each
    if options.fail_on and all(row.judged(by) is None for row in found.rows(each)):
        raise InputError(
            f"{after}: nothing was measured beside {found.baseline_label} there and in {before}, so "
            "there is no relative change to fail on; --by absolute goes without"
        )
    failed = found.with_verdict(options.fail_on, by, each)
    reasons = [f"{', '.join(options.fail_on)}: {row_names(failed)}"] if failed else []
    if options.fail_on and found.lost:
        reasons.append(f"complete in A and not in B: {', '.join(one.configuration for one in found.lost)}")
    if options.fail_on and (unjudged := found.unjudged(by, each)):
        nothing = found.undecidable(by, each)
        reasons.append("nothing can be judged" if nothing else f"cannot be judged: {row_names(unjudged)}")
    if options.json:
        failing = {
            "by": by,
            "each": each,
            "fail_on": options.fail_on,
            "failed": list(dict.fromkeys(row.name for row in failed)),
        }
        write_json({**found.as_json(), **failing, "failed_because": reasons})
    else:
        console = open_console()
        show(found, console, by, each)
        for reason in reasons:
            print_line(console, f"Failed on {reason}")
    return 1 if reasons else 0
