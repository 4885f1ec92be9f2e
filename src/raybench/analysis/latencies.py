"""Each configuration's latencies by visit, as arrays and not as rows, read a few configurations at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from raybench.analysis.batches import batches, narrowed
from raybench.analysis.diagnostics import Visit
from raybench.analysis.ratios import MEASURES
from raybench.analysis.shipped import shipped_sql

Query = Callable[..., pa.Table]
"""Runs a query over a run's views, with parameters for its question marks."""


class Latencies(NamedTuple):
    """One configuration's wall times in ms, by measure (`MEASURES`) and visit, in the order of measuring."""

    configuration: str
    by_measure: Mapping[str, Sequence[Visit]]


def read_latencies(query: Query, samples: Mapping[str, int]) -> Iterator[Latencies]:
    """Of each configuration that has any. ``samples``: how many timed ones each has, in the plan's order of all."""
    order = query(shipped_sql("visit_order")).to_pydict()
    names = list(samples)
    for first, last in batches(list(samples.values())):
        places = [first + 1, last + 1]  # positions count from 1
        with narrowed(query, "position", *places):
            table = query(shipped_sql("sample_times"), places)
        position, visit = (table[column].to_numpy() for column in ("position", "visit"))
        changes = np.flatnonzero((np.diff(position) != 0) | (np.diff(visit) != 0)) + 1
        edges = [0, *changes.tolist(), len(position)] if len(position) else [0]
        found: dict[int, dict[str, list[Visit]]] = {}
        for measure in MEASURES:
            column = table[measure]
            if column.null_count == len(column):
                continue
            ms = column.to_numpy()  # null is nan
            for start, end in itertools.pairwise(edges):
                values = ms[start:end]
                if column.null_count:
                    values = values[~np.isnan(values)]
                if values.size:
                    number = visit[start]
                    one = Visit(order["device"][number], values, order["visit"][number], order["started"][number])
                    found.setdefault(int(position[start]), {}).setdefault(measure, []).append(one)
        for number, by_measure in sorted(found.items()):
            yield Latencies(names[number - 1], by_measure)
