"""Visits that were never measured, as a driver gets them: samples in batches, then that the visit is finished."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from raybench.records import visit_name
from raybench.schemas import SAMPLES

TASK = "mrpc"
_BATCHES = 4
"""In which a visit sends its samples."""
_SMALLEST, _LARGEST = 100, 10_000
"""Samples of a batch: drawn evenly on a logarithmic scale."""
_BLOCKS = 9
_ROLES = 4
_DRAWN = 1 << 16


@dataclasses.dataclass(frozen=True, slots=True)
class MadeVisit:
    """``row``: what `Finished` tells of it."""

    name: str
    block: str
    round: int
    batches: list[pa.RecordBatch]
    row: dict[str, Any]

    @property
    def rows(self) -> int:
        return sum(batch.num_rows for batch in self.batches)


def made_visits(output_tokens: int = 0) -> Iterator[MadeVisit]:
    """Without end, and the same ones each time. ``output_tokens``: of a language model's samples; 0: a classifier's."""
    rng = np.random.default_rng(0)
    batch = _maker(rng, output_tokens)
    number = 0
    while True:
        round_index, seed = divmod(number, _BLOCKS)
        block = f"{TASK}_seed{seed}"
        name = visit_name(block, round_index)
        sizes = np.exp(rng.uniform(math.log(_SMALLEST), math.log(_LARGEST), _BATCHES)).astype(int)
        place = {"visit": name, "block": block, "round": round_index}
        batches = [batch(place, *of) for of in zip(np.cumsum(sizes) - sizes, sizes, strict=True)]
        yield MadeVisit(name, block, round_index, batches, _finished(place))
        number += 1


def _maker(rng: np.random.Generator, output_tokens: int) -> Callable[[dict[str, Any], int, int], pa.RecordBatch]:
    """Makes ``count`` samples of a visit from number ``start`` on: times with some noise and a tail, drawn once."""
    tail = 1 + 0.5 * (rng.random(2 * _DRAWN) < 0.02)
    wall_ns = (4e6 * (1 + 0.05 * np.abs(rng.standard_normal(2 * _DRAWN))) * tail).astype(np.int64)
    tokens = rng.integers(10, 200, 2 * _DRAWN)
    names = pa.array([f"role_{role}_{TASK}_seed42" for role in range(_ROLES)])
    steps = max(output_tokens - 1, 0)

    def make(place: dict[str, Any], start: int, count: int) -> pa.RecordBatch:
        order = np.arange(start, start + count)
        drawn = slice(at := int(rng.integers(_DRAWN)), at + count)
        columns: dict[str, Any] = {**place, "task": TASK, "phase": "timed", "batch": 1}
        columns |= {"configuration": names.take(pa.array(order % _ROLES)), "request": order // _ROLES}
        columns |= {"turn": order, "sequence": order, "tokens": tokens[drawn], "started_ns": order * 4_300_000}
        columns |= {"host_ns": wall_ns[drawn], "wall_ns": wall_ns[drawn]}
        if steps:
            ends = pa.array(np.arange(count + 1) * steps, pa.int32())
            decode = pa.ListArray.from_arrays(ends, pa.array(np.resize(wall_ns[drawn], count * steps)))
            columns |= {"output_tokens": output_tokens, "prefill_host_ns": wall_ns[drawn]}
            columns |= {"prefill_wall_ns": wall_ns[drawn], "decode_host_ns": decode, "decode_wall_ns": decode}
        return pa.record_batch([_column(columns.get(f.name), f, count) for f in SAMPLES], schema=SAMPLES)

    return make


def _column(value: Any, field: pa.Field[Any], count: int) -> pa.Array:
    if value is None:
        return pa.nulls(count, field.type)
    if isinstance(value, np.ndarray | pa.Array):
        return pa.array(value).cast(field.type)
    return pa.repeat(pa.scalar(value, field.type), count)


def _finished(place: dict[str, Any]) -> dict[str, Any]:
    where = {"host": "here", "device": "GPU-0", "device_name": "made up", "pid": 1, "environment": "{}"}
    took = dict.fromkeys(("fork_ns", "load_ns", "warmup_ns", "timing_ns", "process_peak_bytes"), 0) | {"total_ns": 1}
    return {**place, "attempt": 0, **where, **took, "started_at": datetime.now(UTC)}
