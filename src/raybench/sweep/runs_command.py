"""``raybench runs``: which runs there are, how far each is, and its verdicts, where a sweep has made them."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections import Counter
from typing import Any, Final, Literal

from rich import box
from rich.table import Table

from raybench.analysis import kept_table
from raybench.records import RaybenchError
from raybench.report import (
    answering,
    brief_failure,
    explained,
    open_console,
    print_line,
    say,
    write_json,
)
from raybench.store import Description, ListedRun, Location, RunStore, listed_runs
from raybench.sweep.live import read_report
from raybench.sweep.reading_options import RunsOptions
from raybench.sweep.status import silent_s_of, state_of

_VERDICTS: Final = ("slower", "faster", "equivalent", "inconclusive")
_COLUMNS: Final = (
    *("clock", "measure", "claim", "verdict", "unknown"),
    *("deployment", "reference_strategy", "reference_deployment"),
)
_WHY: Final = 160
"""Characters that are shown of why a run cannot be read."""


@dataclasses.dataclass(frozen=True, slots=True)
class RunLine:
    """One run. What cannot be read of it is None, and ``problem`` says why; ``state`` is ``unreadable`` then.

    ``at_most``: whether rounds are added until intervals are narrow, so that fewer visits may be enough. ``verdicts``:
    how many of each, of the plan's claims or, where nobody wrote any, of all comparisons, end to end by wall time; None
    where its sweep has not ended by itself. ``too_short``: one round, which gives none. ``failed``: configurations that
    were given up.
    """

    run_id: str
    root: Location
    state: str
    plan: str | None = None
    model: str | None = None
    begun_at: datetime.datetime | None = None
    visits_done: int | None = None
    visits_planned: int | None = None
    at_most: bool = False
    verdicts: dict[str, int] | None = None
    too_short: bool = False
    failed: int = 0
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        begun_at = None if self.begun_at is None else self.begun_at.isoformat(timespec="seconds")
        return {**dataclasses.asdict(self), "root": str(self.root), "begun_at": begun_at}


def read_runs(results: Location, now: datetime.datetime | None = None) -> list[RunLine]:
    """The runs of ``results``, newest first, those that cannot be read last. Makes no tables.

    ``now``: the time at which they are looked at. Raises StoreError where the place cannot be listed.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    return [_line_of(run, now) for run in listed_runs(results)]


def show_runs(options: RunsOptions) -> int:
    """``raybench runs``: 0, whatever there is. Raises what `read_runs` raises."""
    runs = read_runs(options.results)
    if options.json:
        write_json([run.as_json() for run in runs])
    elif not runs:
        say(f"{options.results}: no runs; raybench sweep makes one, --results names another place")
    else:
        _print(runs)
    return 0


def _line_of(run: ListedRun, now: datetime.datetime) -> RunLine:
    description = run.description
    if description is None:
        return RunLine(run.run_id, run.root, "unreadable", problem=run.problem)
    plan = description.plan
    line = RunLine(run.run_id, run.root, "unreadable", plan.name, description.model.name, description.created_at)
    try:
        store = RunStore.open(run.root)
        live = read_report(store)
        blocks = {c.block for c in description.configurations}
        done = sum(block in blocks for block, _ in store.committed())
        failed = 0 if live is not None and live.state == "complete" else len(store.given_up())
    except (RaybenchError, OSError) as error:
        return dataclasses.replace(line, problem=str(error))
    state = state_of(live, silent_s_of(live, now))
    verdicts, too_short = _verdicts(run.root, description) if state in ("complete", "incomplete") else (None, False)
    return dataclasses.replace(
        line,
        state=state,
        visits_done=done,
        visits_planned=plan.rounds * len(blocks),
        at_most=plan.until_halfwidth is not None,
        verdicts=verdicts,
        too_short=too_short,
        failed=failed,
    )


def _verdicts(root: Location, description: Description) -> tuple[dict[str, int] | None, bool]:
    """How many there are of each, and whether the run is too short for any."""
    table = kept_table(root, "by_strategy")
    if table is None or not set(_COLUMNS) <= set(table.column_names):
        return None, False
    rows = [
        row
        for row in table.select(_COLUMNS).to_pylist()
        if row["clock"] == "wall" and row["measure"] == "end_to_end" and row["verdict"] is not None
    ]
    rows = answering(rows, description)
    if rows and all(row["unknown"] == "one visit" for row in rows):
        return None, True
    found = Counter(row["verdict"] for row in rows)
    return {verdict: found[verdict] for verdict in _VERDICTS if found[verdict]}, False


def _print(runs: list[RunLine]) -> None:
    console = open_console()
    table = Table(box=box.SIMPLE)
    for header in ("run", "plan", "model", "state", "visits", "verdicts", "begun, UTC"):
        justify: Literal["left", "right"] = "right" if header == "visits" else "left"
        table.add_column(header, justify=justify, overflow="fold", no_wrap=header == "run")
    for run in runs:
        state = f"{run.state}, {run.failed:,} failed" if run.failed else run.state
        cells = [run.run_id, run.plan or "-", run.model or "-", state, _visits(run), _words(run), _begun(run)]
        table.add_row(*cells)
    console.print(table)
    print_line(console, explained("visit", "block"))
    for run in runs:
        if run.problem is not None:
            print_line(console, f"  {run.run_id} cannot be read: {brief_failure(run.problem, _WHY)}")


def _visits(run: RunLine) -> str:
    if run.visits_done is None:
        return "-"
    return f"{run.visits_done:,} of {'at most ' if run.at_most else ''}{run.visits_planned:,}"


def _begun(run: RunLine) -> str:
    if run.begun_at is None:
        return "-"
    with contextlib.suppress(OverflowError):  # of the year 1, by a clock that is ahead: as it is said
        return f"{run.begun_at.astimezone(datetime.UTC):%Y-%m-%d %H:%M}"
    return str(run.begun_at)


def _words(run: RunLine) -> str:
    """``2 slower, 1 equivalent``."""
    if run.too_short:
        return "none: one round"
    return ", ".join(f"{number:,} {verdict}" for verdict, number in (run.verdicts or {}).items()) or "-"
