"""When requests of an open loop come: drawn, or read from a trace. Nanoseconds from the start."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from raybench.records import InputError

MOST_ARRIVALS: Final = 1_000_000
MOST_SECONDS: Final = 7 * 24 * 3600.0
MOST_FILE_BYTES: Final = 64 << 20

_COLUMN: Final = "seconds"


def poisson_arrivals(rate_per_s: float, count: int, seed: int) -> NDArray[np.int64]:
    """``count`` arrivals of a Poisson process: intervals are exponential with mean 1 / rate. Raises InputError."""
    return gamma_arrivals(rate_per_s, 1.0, count, seed)


def gamma_arrivals(rate_per_s: float, burstiness: float, count: int, seed: int) -> NDArray[np.int64]:
    """``count`` arrivals whose intervals follow a gamma distribution with mean 1 / rate, of shape (count,).

    Its shape is ``burstiness``, as in ``vllm bench serve``: 1 is a Poisson process, less comes in bursts, more is more
    even. Unlike there the last arrival is not moved to count / rate, which would make the counts of such runs agree and
    no Poisson process. The first arrival is one interval after the start. Raises InputError.
    """
    for name, value in (("rate", rate_per_s), ("burstiness", burstiness)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} of arrivals: expected a number above 0, found {value:g}")
    if not 0 <= count <= MOST_ARRIVALS:
        raise InputError(f"arrivals: expected at most {MOST_ARRIVALS}, found {count}")
    rng = np.random.default_rng(seed)
    seconds = np.cumsum(rng.gamma(burstiness, 1 / (rate_per_s * burstiness), count))
    if count and not seconds[-1] <= MOST_SECONDS:
        raise InputError(f"{count} arrivals at {rate_per_s:g} a second last longer than a week; ask for fewer")
    return np.rint(seconds * 1e9).astype(np.int64)


def trace_arrivals(path: Path) -> NDArray[np.int64]:
    """The arrivals of a trace: seconds from the start, which do not fall, of shape (arrivals,).

    A ``.csv`` has a header with the column ``seconds``; a ``.jsonl`` a number a line, or an object with ``seconds``.
    Further columns and keys are left alone. Raises InputError with the file, and the line where it is a line's fault.
    """
    if path.suffix not in (".csv", ".jsonl"):
        raise InputError(f"{path}: expected a trace that ends with .csv or .jsonl")
    if not path.is_file():
        raise InputError(f"{path}: no such file, or not a regular one")
    try:
        if (size := path.stat().st_size) > MOST_FILE_BYTES:
            raise InputError(f"{path}: it has {size} bytes; a trace has at most {MOST_FILE_BYTES}")
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    found: list[float] = []
    for line, value in _csv(path, text) if path.suffix == ".csv" else _jsonl(path, text):
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= MOST_SECONDS:
            raise InputError(f"{path}: line {line}: expected seconds from the start, from 0 to those of a week")
        if found and value < found[-1]:
            raise InputError(f"{path}: line {line}: it comes before the one above it; sort the trace by seconds")
        if len(found) == MOST_ARRIVALS:
            raise InputError(f"{path}: it has more than {MOST_ARRIVALS} arrivals")
        found.append(float(value))
    if not found:
        raise InputError(f"{path}: it has no arrivals")
    return np.rint(np.array(found) * 1e9).astype(np.int64)


def _csv(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    reader = csv.reader(text.splitlines(), strict=True)
    try:
        header = next(reader, [])
        if header.count(_COLUMN) != 1:
            raise InputError(f"{path}: expected a header with one column {_COLUMN!r}, found {header[:10]}")
        place = header.index(_COLUMN)
        for row in reader:
            if row:
                yield reader.line_num, _number(row[place]) if place < len(row) else None
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: no CSV: {error}") from None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _jsonl(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: line {number}: no JSON: {error}") from None
        yield number, found.get(_COLUMN) if isinstance(found, dict) else found
