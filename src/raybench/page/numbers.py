"""The numbers of a run as JSON values: what the page embeds, and what ``--json`` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from raybench.analysis import Tables, shipped_sql
from raybench.page.answer import Answer
from raybench.page.parts import Limits
from raybench.page.values import as_json
from raybench.page.verdicts import reason_of, verdict_rows
from raybench.store import Description, redact_uris

VERSION: Final = 1
"""Of the layout of what is written."""
_TABLES: Final = {
    "by_strategy": "FROM by_strategy",
    "by_configuration": "FROM by_configuration",
    "completeness": "FROM completeness",
    "cautions": "FROM cautions",
    "percentiles": "FROM percentiles WHERE refused IS NULL",
    "throughput": "FROM throughput",
    "goodput": "FROM goodput",
    "attribution": "FROM attribution",
    "memory_and_load": "FROM memory_and_load",
    "adapter_switch": "FROM adapter_switch",
    "adapters_resident": "FROM adapters_resident",
    "adapter_growth": "FROM adapter_growth",
    "fidelity": "FROM fidelity",
    "run_time": "FROM run_time",
}
_SHIPPED: Final = {
    "quantiles": "page_quantiles",
    "lengths": "page_lengths",
    "visits": "page_visits",
    "gaps": "page_gaps",
}


def numbers_of(
    tables: Tables, answer: Answer, advice: Mapping[str, Any] | None, limits: Limits | None = None
) -> dict[str, Any]:
    """All of them; with ``limits`` some times as many rows of each table as the page shows, with how many are left out.

    A table is its columns and its rows, each a list in that order. Numbers have seven digits.
    """
    run = tables.description
    queries = {**_TABLES, **{name: shipped_sql(file) for name, file in _SHIPPED.items()}}
    verdicts = [
        {key: row[key] for key in ("deployment", "reference_strategy", "reference_deployment", "measure", "verdict")}
        | {"reason": reason_of(row, tables.margin).code}
        for row in verdict_rows(tables)
    ]
    found: dict[str, Any] = as_json(
        {
            "version": VERSION,
            "run": run_numbers(run),
            "answer": answer.as_json(),
            "advice": advice,
            "verdicts": _as_table(verdicts, limits),
            "tables": {name: _as_table(tables.rows(query), limits) for name, query in queries.items()},
        }
    )
    return found


def run_numbers(run: Description) -> dict[str, Any]:
    """What a run is, in a few values."""
    return {
        "run_id": run.run_id,
        "created_at": run.created_at,
        "schema_version": run.schema_version,
        "plan": run.plan.name,
        "design": run.plan.design,
        "rounds": run.plan.rounds,
        "requests": run.plan.requests,
        "margin": run.plan.margin,
        "model": redact_uris(run.model.name),
        "task_type": run.model.task_type,
        "versions": dict(run.environment.driver.versions),
    }


def _as_table(rows: Sequence[Mapping[str, Any]], limits: Limits | None) -> dict[str, Any]:
    most = len(rows) if limits is None else 5 * limits.rows
    columns = list(rows[0]) if rows else []
    shown = [[_told(column, row[column]) for column in columns] for row in rows[:most]]
    return {"columns": columns, "rows": shown, "left_out": max(0, len(rows) - most)}


def _told(column: str, value: Any) -> Any:
    return redact_uris(value) if column in ("failure", "message") and value is not None else value
