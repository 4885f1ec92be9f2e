"""Each configuration's latencies by visit, as arrays and not as rows, read a few configurations at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

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
    """Of each configuration that has any, those of one block after the other, since they lie in the same files.

    ``samples``: how many timed ones each has, in the plan's order of all.
    """
    order = query(shipped_sql("visit_order")).to_pydict()
    names = list(samples)
    by_block = query("SELECT position FROM configurations ORDER BY block, position")["position"].to_pylist()
    counts = {place: samples[names[place - 1]] for place in by_block}  # positions count from 1
    for places in batches("position", counts):
        with narrowed(query, "position", places):
            table = query(shipped_sql("sample_times"), [places])
        position, visit, sequence = (table[column].to_numpy() for column in ("position", "visit", "sequence"))
        number_of = np.zeros(len(names) + 1, dtype=np.int64)
        number_of[places] = np.arange(len(places))
        taken = _in_order(number_of[position] * len(order["visit"]) + visit, sequence)
        position, visit = position[taken], visit[taken]
        changes = np.flatnonzero((np.diff(position) != 0) | (np.diff(visit) != 0)) + 1
        edges = [0, *changes.tolist(), len(position)] if len(position) else [0]
        found: dict[int, dict[str, list[Visit]]] = {}
        for measure in MEASURES:
            column = table[measure]
            if column.null_count == len(column):
                continue
            ms = column.to_numpy()[taken]  # null is nan
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


def _in_order(place: NDArray[np.int64], sequence: NDArray[np.int32]) -> NDArray[np.intp]:
    """The indices that sort by ``place``, from 0, and then by ``sequence``; quickly where files have that in order."""
    narrow = place.astype(np.min_scalar_type(int(place.max(initial=0))))  # two bytes are sorted without comparing
    found = np.argsort(narrow, kind="stable")
    same = np.diff(narrow[found]) == 0
    if (np.diff(sequence[found])[same] < 0).any():
        found = np.lexsort((sequence, place))
    return found
