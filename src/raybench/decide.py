"""From a run's measured latencies and memory to advice: merge, separate, several adapters on one base, or full.

`docs/decide.md` states the rule with its formulas, sources and limits; names here are those used there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from raybench.advice import (
    Advice,
    Comparison,
    WayResult,
    advice_to_dict,
    count,
    deciding_numbers,
    milliseconds,
    reasons,
    render,
    sentence,
)
from raybench.capacity import WAYS
from raybench.evidence import Evidence
from raybench.needs import Needs, parse_bytes, parse_positive, parse_seconds, parse_share, parse_tasks
from raybench.tables import Tables
from raybench.terminal import open_console


def decide(tables: Tables, needs: Needs) -> Advice:
    """The way that needs the fewest GPUs, ties broken in the order of `WAYS`; `docs/decide.md` has the rule.

    Where the run lacks what that needs, the advice has no way, and ``missing`` says what it lacks.
    """
    evidence = Evidence(tables)
    compared = evidence.comparisons() if not evidence.missing else {}
    measured = evidence.measured(compared) if not evidence.missing else []
    ways = tuple(one.result(needs) for one in measured)
    best = min((way for way in ways if way.gpus is not None), key=lambda way: way.gpus or 0, default=None)
    virtue = next((way.virtue for way in WAYS if best is not None and way.name == best.way), "")
    asked = (
        f"{count(needs.tasks, 'task')} at {needs.requests_per_second:g} requests/s "
        f"within p95 {milliseconds(needs.slo_p95_s)}"
    )
    return Advice(
        run=tables.root.name,
        needs={**dataclasses.asdict(needs), "switches": needs.switch_share},
        measured_on=evidence.devices,
        measured_tasks=evidence.tasks,
        way=None if best is None else best.way,
        gpus=None if best is None else best.gpus,
        sentence=sentence(asked, best, ways, evidence.missing),
        because=reasons(best, ways, virtue),
        ways=ways,
        comparisons=_telling(best, compared),
        numbers=deciding_numbers(best, ways),
        cautions=evidence.cautions(needs, ways, compared),
        missing=tuple(evidence.missing),
        next_command=_next_command(tables, best, evidence.missing),
    )


def _telling(best: WayResult | None, compared: Mapping[tuple[str, str], Comparison]) -> tuple[Comparison, ...]:
    """Each pair of strategies once, as the chosen one against the other; without a chosen one, all pairs."""
    found: dict[frozenset[str], Comparison] = {}
    for pair, comparison in compared.items():
        if best is None or best.strategy in pair:
            kept = found.get(frozenset(pair))
            if kept is None or (best is not None and comparison.strategy == best.strategy):
                found[frozenset(pair)] = comparison
    return tuple(found.values())


def _next_command(tables: Tables, best: WayResult | None, missing: Sequence[str]) -> str:
    if missing:
        return (
            "python -m raybench.sweep --plan rq2    (or complete this run: the same command as before, with --resume)"
        )
    run = shlex.quote(str(tables.root))
    if best is None:
        return f"raybench tables {run}    (where the time goes; then a faster GPU or a longer SLO)"
    return f"raybench tables {run}    (all numbers behind this)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``raybench decide`` can be told."""
    parser.add_argument("directory", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("--tasks", required=True, metavar="N", help="how many fine-tunes are to be served")
    parser.add_argument("--gpu-memory", required=True, metavar="SIZE", help="of one GPU, free for models: 24GB, 24GiB")
    parser.add_argument(
        "--slo-p95", required=True, metavar="TIME", help="95 %% of requests answered within: 40ms, 0.04s"
    )
    parser.add_argument("--requests-per-second", required=True, metavar="RATE", help="over all tasks together")
    parser.add_argument(
        "--switches",
        metavar="SHARE",
        help="share of a GPU's requests for another task than the one before: 0.3, 30%% (default: the worst, 1)",
    )
    parser.add_argument("--gpu-price", metavar="PRICE", help="of one GPU for an hour, in any currency")
    parser.add_argument("--json", action="store_true", help="for programs")


def needs_of(options: argparse.Namespace) -> Needs:
    """The needs that a command line states. Raises InputError."""
    return Needs(
        tasks=parse_tasks(options.tasks, "--tasks"),
        gpu_memory_bytes=parse_bytes(options.gpu_memory, "--gpu-memory"),
        slo_p95_s=parse_seconds(options.slo_p95, "--slo-p95"),
        requests_per_second=parse_positive(options.requests_per_second, "--requests-per-second"),
        switches=None if options.switches is None else parse_share(options.switches, "--switches"),
        gpu_price=None if options.gpu_price is None else parse_positive(options.gpu_price, "--gpu-price"),
    )


def run(options: argparse.Namespace) -> int:
    """Print the advice. Exit code: 0 answered (also where no way is feasible), 1 where the run lacks what it needs.

    Raises InputError for bad options, before the run is read, and what `Tables` raises.
    """
    needs = needs_of(options)
    advice = decide(Tables(options.directory), needs)
    if options.json:
        sys.stdout.write(json.dumps(advice_to_dict(advice), indent=2, allow_nan=False) + "\n")
    else:
        render(advice, open_console())
    return 1 if advice.missing else 0
