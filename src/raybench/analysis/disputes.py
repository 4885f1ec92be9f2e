"""Means that differ where requests' own ratios do not bear it out: a caution each, and its verdict is inconclusive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from raybench.analysis.diagnostics import Caution
from raybench.analysis.ratios import PAIRED, compared_in
from raybench.records import in_percent

_SOME: Final = (
    "some requests make the difference, slow or long ones, and most do not show it: look for what shares the machine, "
    "and at the percentiles for whether the slow ones are the deployment's own; more rounds tell them from chance"
)
_UNSURE: Final = (
    "the means show it after Holm's adjustment, the requests' own ratios not surely enough: either a few requests make "
    "it, or these visits barely show as much; more rounds tell, and look for what shares the machine"
)


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
                    _UNSURE if beside["verdict"] == "inconclusive" else _SOME,
                ),
            )


def _reference(row: Mapping[str, Any]) -> str:
    found: str = row["reference_deployment"] or row["reference_strategy"]
    return found


def _interval(row: Mapping[str, Any]) -> str:
    return "{} [{}, {}]".format(*(in_percent(row[of] - 1, "+.1f") for of in ("ratio", "low", "high")))
