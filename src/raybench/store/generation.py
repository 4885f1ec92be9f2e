"""What must hold for the prefill and the decoding steps of a sample: a request of a language model has all of them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

_WHOLE: Final = ("output_tokens", "prefill_host_ns", "prefill_wall_ns", "decode_host_ns", "decode_wall_ns")
"""All there, or, of a classifier's request, none."""
_BY_DEVICE: Final = ("prefill_device_ns", "decode_device_ns")
"""Those of a language model that are there where ``device_ns`` is."""
_STEPS: Final = ("decode_host_ns", "decode_wall_ns", "decode_device_ns")


class Wrong(NamedTuple):
    """The row of the samples that cannot be true, from 0, and what of it cannot."""

    row: int
    what: str


def wrong_steps(samples: pa.Table) -> Wrong | None:
    """The first thing found that cannot be true of prefill and decoding steps; None where all can.

    A sample has all of `_WHOLE` or none, by the device's clock as its ``device_ns`` has it. Its lists have a step
    fewer than it has output tokens, since the prefill gives the first; no step is null or below a nanosecond.
    """
    columns = {"output_tokens", *_WHOLE, *_BY_DEVICE, *_STEPS}
    if all(samples[column].null_count == samples.num_rows for column in columns):  # of classifiers
        return None
    first = 0
    for batch in samples.to_batches():
        if (found := _wrong_presence(batch) or _wrong_lists(batch)) is not None:
            return Wrong(first + found.row, found.what)
        first += batch.num_rows
    return None


def _wrong_presence(batch: pa.RecordBatch) -> Wrong | None:
    generated = pc.is_valid(batch["output_tokens"])
    on_device = pc.and_(generated, pc.is_valid(batch["device_ns"]))
    for columns, wanted, like in ((_WHOLE[1:], generated, "output_tokens"), (_BY_DEVICE, on_device, "device_ns")):
        for column in columns:
            there = pc.is_valid(batch[column])
            if (row := pc.index(pc.equal(there, wanted), pa.scalar(False)).as_py()) >= 0:
                state, other = "there" if there[row].as_py() else "null", _shown(batch[like][row])
                return Wrong(row, f"{column} is {state} and {like} is {other}, should go together")
    return None


def _wrong_lists(batch: pa.RecordBatch) -> Wrong | None:
    expected = pc.subtract(batch["output_tokens"], pa.scalar(1, pa.int32()))
    for column in _STEPS:
        lists = batch[column]
        lengths = pc.list_value_length(lists)
        if (row := pc.index(pc.equal(lengths, expected), pa.scalar(False)).as_py()) >= 0:  # null is neither
            wanted = f"should be {expected[row]}, one fewer than output_tokens"
            return Wrong(row, f"{column} has {lengths[row]} steps, {wanted}")
        steps = lists.flatten()
        shortest = pc.min_max(steps).as_py()["min"]  # which makes no column; null where all are
        if steps.null_count == 0 and (shortest is None or shortest >= 1):
            continue
        too_short = pc.fill_null(pc.less(steps, pa.scalar(1)), True)
        if (at := pc.index(too_short, pa.scalar(True)).as_py()) >= 0:
            row = pc.list_parent_indices(lists)[at].as_py()
            return Wrong(row, f"{column} has a step of {_shown(steps[at])}, should be at least 1")
    return None


def _shown(value: pa.Scalar[Any]) -> object:
    return "null" if value.as_py() is None else value.as_py()
