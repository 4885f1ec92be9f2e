"""Two runs of one plan, B against A, for regressions: what became slower or faster, or surely stayed the same.

Absolute: log mean latency of a visit, B less A. A machine whose speed differs between the runs is inside it.
Relative: log ratio to the reference of the same visit, B less A. Drift cancels; so does a slowdown of all alike.
Both are given, each with Holm over the configurations.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from raybench.changes import estimate_change, judge
from raybench.compare_report import row_names, show
from raybench.run_comparison import By, Row, RunComparison
from raybench.run_differences import differences
from raybench.run_pairing import common_references, comparable, compared_requests, measured
from raybench.tables import Tables
from raybench.terminal import open_console, print_line

FAIL_ON: Final = ("slower", "faster", "inconclusive")


def compare(a: Tables, b: Tables) -> RunComparison:
    """Every configuration that is complete in both runs: B / A.

    Raises InputError if there is none.
    """
    names, left_out = comparable(a, b)
    requests, matched, notes = compared_requests(a, b, names)
    in_a, in_b = (measured(run, kept) for run, kept in zip((a, b), requests, strict=True))
    if a.root.resolve() == b.root.resolve():
        notes.append("A and B are the same run.")
    if "independent" in (a.description["plan"]["design"], b.description["plan"]["design"]):
        notes.append(
            "A configuration and its reference were measured in different visits (independent design): drift is in "
            "the relative change too."
        )
    references = {
        name: (strategy, used)
        for name, (strategy, used) in common_references(a, b, names).items()
        if in_a.relative.get((name, strategy)) and in_b.relative.get((name, strategy))
    }
    absolute = {name: estimate_change(in_a.absolute[name], in_b.absolute[name], matched) for name in names}
    relative = {
        name: estimate_change(in_a.relative[name, strategy], in_b.relative[name, strategy], matched)
        for name, (strategy, _) in references.items()
    }
    # A pair and its mirror, separate against full and full against separate, are one claim.
    pairs = {name: frozenset([name, *used]) for name, (_, used) in references.items()}
    absolutes = judge(absolute, {name: frozenset([name]) for name in names}, a.margin)
    relatives = judge(relative, pairs, a.margin)
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
            print_line(console, f"Failed on {', '.join(options.fail_on)}: {row_names(failed)}")
    return 1 if failed else 0


def _verdicts(text: str) -> list[str]:
    found = [part.strip() for part in text.split(",")]
    for part in found:
        if part not in FAIL_ON:
            raise argparse.ArgumentTypeError(f"{part!r} is none of {', '.join(FAIL_ON)}")
    return found
