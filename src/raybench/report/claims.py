"""Of which comparisons a run's answer is: the plan's claims where somebody wrote some, or all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from raybench.store import Description

_Row = TypeVar("_Row", bound=Mapping[str, Any])


def has_claims(run: Description) -> bool:
    """Whether somebody wrote into the plan what it sets out to show; of adapters raybench writes the plan itself."""
    return bool(run.plan.claims) and not run.written_from


def answering(rows: Sequence[_Row], run: Description) -> list[_Row]:
    """Of rows of ``by_strategy`` with a verdict those that count, by one measure and clock: a pair and its mirror once.

    Claims, or all where there are none.
    """
    claimed = [row for row in rows if row["claim"]] if has_claims(run) else []
    return once(claimed or rows)


def once(rows: Sequence[_Row]) -> list[_Row]:
    """Of a pair and its mirror one, that which the plan claims."""
    found: dict[frozenset[str], _Row] = {}
    for row in rows:
        pair = frozenset((row["deployment"], reference_of(row)))
        if pair not in found or (row["claim"] and not found[pair]["claim"]):
            found[pair] = row
    return list(found.values())


def reference_of(row: Mapping[str, Any]) -> str:
    """What a row is compared with, by the name of its own row."""
    name: str = row["reference_deployment"] or row["reference_strategy"]
    return name
