"""What a reader should know of a run: cautions with their hints, and what is not on the page, with why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from raybench.analysis import Tables
from raybench.page.parts import Item, Limits, Section, cut, grid, grids
from raybench.page.values import whole
from raybench.records import count
from raybench.report import be, of_all, told_failure
from raybench.store import redact_uris

_NAMED: Final = 3
_REASONS: Final = 12


def caution_key(code: str, of: str | None = None) -> str:
    """The place of a caution on the page; ``of``: which run of two."""
    return f"caution-{code}" if of is None else f"caution-{of.lower()}-{code}"


def caution_section(tables: Tables, limits: Limits, of: str | None = None) -> Section:
    """Each finding once, with whom it concerns and what to do about it. ``of``: which run of two."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in tables.rows("FROM cautions"):
        found.setdefault((row["code"], row["hint"]), []).append(row)
    items: list[Item] = []
    for (code, hint), rows in list(found.items())[: limits.rows]:
        of_run = rows[0]["configuration"] is None
        where = "the run" if of_run else count(len(rows), "configuration")
        lines = [
            cut(row["message"] if of_run else f"{row['configuration']}: {row['message']}", 4 * limits.characters) + "."
            for row in rows[:_NAMED]
        ]
        lines.append(f"{hint[0].upper()}{hint[1:]}.")
        query = f"FROM cautions WHERE code = '{code}'" if len(rows) > _NAMED else None
        key = caution_key(code, of)
        first = all(one.key != key for one in items)
        items.append(Item(code, f"in {where}:", tuple(lines), query, key if first else None))
    timed = tables.rows("SELECT count(*) AS n FROM visits")[0]["n"]
    nothing = "Of what was timed nothing was found that a reader should know." if timed else "Nothing was timed."
    return Section("cautions", "Cautions", () if items else (nothing,), items=tuple(items))


def gap_section(tables: Tables, absent: Iterable[str], limits: Limits) -> Section:
    """Configurations that are not complete and why, refused percentiles. ``absent``: parts that the page lacks."""
    query = "FROM completeness WHERE NOT complete"
    rows = tables.rows(query)
    shown = [
        row
        | {
            "why": cut(
                redact_uris(told_failure(row["failure"] or "not measured to the end yet")), 3 * limits.characters
            )
        }
        for row in rows
    ]
    wide = Limits(limits.rows, limits.series, 3 * limits.characters)
    table = grid(
        "Configurations that are not complete, and enter no mean of a deployment",
        shown,
        {
            "configuration": ("configuration", str),
            "rounds_done": ("rounds done", whole),
            "rounds_planned": ("rounds planned", whole),
            "why": ("why", str),
        },
        query,
        wide,
    )
    total = tables.rows("SELECT count(*) AS n FROM configurations")[0]["n"]
    complete = of_all(total - len(rows), total, "configuration")
    lines = [f"{complete[0].upper()}{complete[1:]} {be(1 if total == 1 else total - len(rows))} complete.", *absent]
    refused = tables.rows("SELECT DISTINCT refused FROM percentiles WHERE refused IS NOT NULL ORDER BY refused")
    if refused:
        lines.append(
            f"Percentiles that samples cannot carry: {'; '.join(row['refused'] for row in refused[:_REASONS])}."
        )
    return Section("left-out", "What was left out, and why", tuple(lines), grids=grids(table))
