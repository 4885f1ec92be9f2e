"""Why what is slower is slower, in words: what it does more of, and where its extra time goes."""

from __future__ import annotations

import statistics
from typing import Any

from raybench.analysis import Tables, shipped_sql
from raybench.records import count, in_percent
from raybench.report.numbers import percent


def attribution_lines(tables: Tables) -> list[str]:
    """Of what is slower than a reference beside which it was measured, a line each; and how far off predictions are.

    Where the plan has claims, of those alone. No lines for a run in which nothing was counted.
    """
    predicted = tables.rows("FROM predictions WHERE measure = 'end_to_end'")
    if not predicted:
        return []
    rows = [row for row in tables.rows(shipped_sql("attribution_of_deployments")) if row["is_known"]]
    if tables.description.plan.claims:
        rows = [row for row in rows if row["claim"]]
    lines = [_line(row) for row in rows]
    known = [row for row in predicted if row["error"] is not None]
    if known:
        off, most = (in_percent(by([abs(row["error"]) for row in known]), ".1f") for by in (statistics.median, max))
        lines.append(
            "What is counted and how fast the device is predict the mean times of "
            f"{count(len(known), 'configuration')} with a median error of {off}, at most {most}: raybench sql, "
            "FROM predictions."
        )
    if len(known) < len(predicted):
        lines.append(
            f"Of {count(len(predicted) - len(known), 'configuration')} nothing is predicted: not_predicted says why."
        )
    return lines


def _line(row: dict[str, Any]) -> str:
    """``LoRA Separate against LoRA Merged: +0.1 % bytes, ...; that predicts +8.60 ms of dispatch and ...``."""
    reference = row["reference_deployment"] or row["reference_strategy"]
    more = ", ".join(
        f"{percent(1 + row[f'more_{what}'])} {words}"
        for what, words in (("bytes", "bytes"), ("operations", "operations"), ("instructions", "Python instructions"))
    )
    return (
        f"{row['deployment']} against {reference}: {more}; that predicts {row['dispatch_ms']:+.2f} ms of dispatch and "
        f"{row['device_ms']:+.2f} ms of computing, where {row['extra_ms']:+.2f} ms were measured."
    )
