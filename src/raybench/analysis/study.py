"""The table ``significance``: our t test of each row of the study's table, and two other tests beside it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from raybench.analysis import significance
from raybench.analysis.claims import adjusted_p
from raybench.analysis.comparisons import Comparisons

_PERMUTATION_SEED: Final = 0


def significance_rows(comparisons: Comparisons, compared: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each comparison by wall time, of each measure. ``compared``: rows of the view ``comparisons``."""
    pairs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in compared:
        if row["via"] is None:
            pairs[row["configuration"], row["reference_strategy"]].append(row["reference"])
    rows = comparisons.of_deployments(["wall"])
    found = []
    for item, p_holm in zip(rows, adjusted_p(rows), strict=True):
        estimate, reference, measure = item.estimate, item.reference_strategy, item.timing.measure
        if estimate is None:
            continue
        names = comparisons.names[item.row["deployment"]]
        units = comparisons.ratios.units(names, reference, item.timing)
        row = {
            "deployment": item.row["deployment"],
            "reference_strategy": reference,
            "measure": measure,
            "claim": item.claim,
            "visits": estimate.n,
            "df": estimate.df,
            "p_permutation": significance.permutation_p(units, _PERMUTATION_SEED) if units else None,
        }
        if estimate.df > 0:
            row["t"] = estimate.log_ratio / estimate.standard_error
        if estimate.unknown != "equal visits":
            row |= {"p": estimate.p_value(), "p_holm": p_holm}
        mean_ms = {name: ms for (name, of), ms in comparisons.mean_ms.items() if of == measure}
        found.append(row | _of_study([(name, pairs.get((name, reference), [])) for name in names], mean_ms))
    return found


def _of_study(pairs: Sequence[tuple[str, Sequence[str]]], mean_ms: Mapping[str, float]) -> dict[str, Any]:
    """The study's own test over the means of (task, seed) pairs; nothing where there are fewer than two."""
    means, reference_means = [], []
    for name, references in pairs:
        own, theirs = mean_ms.get(name), [mean_ms.get(r) for r in references]
        measured = [ms for ms in theirs if ms is not None]
        if own is not None and measured and len(measured) == len(theirs):
            means.append(own)
            reference_means.append(float(np.mean(measured)))
    if len(means) < 2:
        return {}
    study = significance.study_paired_test(means, reference_means)
    if math.isnan(study.t):  # pairs that all differ by the same
        return {"study_pairs": len(means)}
    return {"study_pairs": len(means), "study_t": study.t, "study_p": study.p}
