"""Samples that serve the same few requests again and again: what their percentiles are percentiles of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raybench.analysis.diagnostics import Caution
from raybench.analysis.percentiles import PERCENTILES, samples_needed
from raybench.records import count


def repeat_cautions(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, Caution]]:
    """For each configuration a caution where a percentile is given that its distinct requests could not carry.

    ``rows``: of the view ``distinct_requests``. The requests must be as many as independent samples would have to be.
    """
    found = []
    for row in rows:
        samples, distinct = row["samples"], row["distinct_requests"]
        resting = [p for p in PERCENTILES if distinct < samples_needed(p) <= samples]
        if resting:
            times = count(distinct, "distinct request")
            needed = f"p{resting[0]:g} needs {samples_needed(resting[0]):,}"
            message = f"{count(samples, 'sample')} serve {times} again and again: too few for a tail ({needed})"
            hint = "percentiles, means and intervals are of these requests alone; bring more texts to speak of others"
            found.append((row["configuration"], Caution("few_requests", message, hint)))
    return found
