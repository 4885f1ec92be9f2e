"""The runs of a place: when each was begun, and which was begun last. Of each its description alone is read."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from raybench.records import RaybenchError
from raybench.store.description import Description
from raybench.store.location import Location
from raybench.store.results import run_ids
from raybench.store.store import read_description

_CLOCKS_DIFFER: Final = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run, or what seems to be one: ``description`` is None where it cannot be read, and ``problem`` says why."""

    run_id: str
    root: Location
    description: Description | None
    problem: str = ""


def listed_runs(results: Location) -> list[ListedRun]:
    """Newest first; last, by their names, those that cannot be read. Raises `StoreError` where none can be listed."""
    found = list(_each(results))
    read = [(run.description.created_at, run.run_id, run) for run in found if run.description is not None]
    return [run for _, _, run in sorted(read, key=lambda one: one[:2], reverse=True)] + [
        run for run in found if run.description is None
    ]


def newest_run(results: Location, plan_name: str | None = None) -> tuple[ListedRun | None, list[str]]:
    """The run that was begun last, of that plan if one is named, and what there is to say of those passed over.

    Those are what cannot be read, and what was begun at a time that has not come. Raises `StoreError`.
    """
    latest = datetime.datetime.now(datetime.UTC) + _CLOCKS_DIFFER
    begun: list[tuple[datetime.datetime, str, ListedRun]] = []
    passed: list[str] = []
    for run in _each(results):
        if run.description is None:
            passed.append(run.problem)
        elif plan_name is not None and run.description.plan.name != plan_name:
            continue
        elif run.description.created_at > latest:
            passed.append(f"{run.root}: begun at {run.description.created_at}, a time that has not come")
        else:
            begun.append((run.description.created_at, run.run_id, run))
    more = f" (and {len(passed) - 1} more)" if len(passed) > 1 else ""
    notices = [f"Not looked at for the newest run{more}: {passed[0]}"] if passed else []
    return max(begun, key=lambda one: one[:2])[2] if begun else None, notices


def _each(results: Location) -> Iterator[ListedRun]:
    for run_id in run_ids(results):
        root = results / run_id
        try:
            yield ListedRun(run_id, root, read_description(root))
        except RaybenchError as error:
            yield ListedRun(run_id, root, None, str(error))
