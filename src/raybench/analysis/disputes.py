"""Means that differ by a few requests: each such comparison is a caution, and its verdict inconclusive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from raybench.analysis.diagnostics import Caution
from raybench.analysis.ratios import PAIRED, compared_in
from raybench.records import in_percent


def disputes(rows: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str | None, Caution]]:
    """A caution for each disputed row of ``overhead`` or ``by_strategy`` (None: of a deployment, so of the run)."""
    paired = {compared_in(row): row for row in rows if row["clock"] == PAIRED}
    for row in rows:
        if row.get("disputed"):
            beside = paired[compared_in(row)]
            of = "" if row["measure"] == "end_to_end" else f" ({row['measure']})"
            name = row.get("configuration")
            who = f"against {row['reference_strategy']}" if name else f"{row['deployment']} against {_reference(row)}"
            yield (
                name,
                Caution(
                    "disputed",
                    f"{who}{of}: the means differ by {_interval(row)}, request by request it is {_interval(beside)}",
                    "a few slow requests make the difference: look for what shares the machine, and at the percentiles "
                    "for whether the slow ones are the deployment's own; more rounds tell them from chance",
                ),
            )


def _reference(row: Mapping[str, Any]) -> str:
    found: str = row["reference_deployment"] or row["reference_strategy"]
    return found


def _interval(row: Mapping[str, Any]) -> str:
    return "{} [{}, {}]".format(*(in_percent(row[of] - 1, "+.1f") for of in ("ratio", "low", "high")))
