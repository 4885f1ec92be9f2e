"""The requests: which model inputs, how long, and the same for every configuration compared on them."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import zlib
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raybench.model.files import check_regular
from raybench.records import InputError

_FIRST_WORD_ID = 3  # 0 to 2 are the padding, start and end tokens of the Llama vocabulary


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What a deployment is asked at once. ``token_ids``: None where only the length is known, the worker draws the ids.

    ``output_tokens``: to generate for each prompt; 0 for a classifier. ``batch``: the prompts that are served together,
    each a request; ``tokens`` is then what theirs add up to. Empty: the request is one prompt itself.
    """

    task: str
    index: int
    tokens: int
    token_ids: tuple[int, ...] | None = None
    output_tokens: int = 0
    batch: tuple[Request, ...] = ()

    @property
    def prompts(self) -> tuple[Request, ...]:
        """Its prompts, in the order of the batch."""
        return self.batch or (self,)


@dataclasses.dataclass(frozen=True, slots=True)
class Extent:
    """What a model must take: tokens of the longest request, its output included; the largest token id where known."""

    tokens: int
    largest_token_id: int | None = None


class Workload(Protocol):
    """Where requests come from: request ``index`` of a task is always the same."""

    def request(self, task: str, index: int) -> Request:
        """Request ``index`` (from 0, without end: a short task goes round again)."""

    def extent(self, task: str, count: int) -> Extent:
        """Of the first ``count`` requests of a task."""

    def describe(self) -> dict[str, Any]:
        """What a run's description says of it."""


class GlueLengths:
    """Requests with the real token lengths of each GLUE task, in an order drawn once from a seed.

    The lengths are counts of labelled examples under the Llama-2 tokenizer (``glue_token_lengths.csv``: sst2 872,
    mrpc 408, rte 2,767 examples). Every example comes once before any comes again.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._order: dict[str, list[int]] = {}

    def request(self, task: str, index: int) -> Request:
        order = self._drawn(task)
        return Request(task, index, order[index % len(order)])

    def extent(self, task: str, count: int) -> Extent:
        return Extent(max(self._drawn(task)[:count]))

    def _drawn(self, task: str) -> list[int]:
        if task not in self._order:
            lengths = np.repeat(*np.array(glue_lengths()[task]).T)
            # Seeded by the task's name too: tasks are drawn apart, whatever else a plan holds.
            drawn = np.random.default_rng([self.seed, zlib.crc32(task.encode())]).permutation(lengths)
            self._order[task] = drawn.tolist()
        return self._order[task]

    def describe(self) -> dict[str, Any]:
        return {"source": "glue_token_lengths", "seed": self.seed}


class Texts:
    """Requests from a person's own texts, tokenized; in an order drawn once from a seed."""

    def __init__(self, path: str, by_task: dict[str, list[list[int]]], seed: int) -> None:
        self.path, self.seed = path, seed
        self._ids = {}
        for task, rows in by_task.items():
            order = np.random.default_rng([seed, zlib.crc32(task.encode())]).permutation(len(rows))
            self._ids[task] = [tuple(rows[i]) for i in order]

    def request(self, task: str, index: int) -> Request:
        rows = self._ids[task]
        ids = rows[index % len(rows)]
        return Request(task, index, len(ids), ids)

    def extent(self, task: str, count: int) -> Extent:
        rows = self._ids[task][:count]
        return Extent(max(map(len, rows)), max(map(max, rows)))

    def describe(self) -> dict[str, Any]:
        texts = {task: len(rows) for task, rows in self._ids.items()}
        digest = hashlib.sha256(json.dumps(self._ids, sort_keys=True).encode()).hexdigest()
        described = {"source": self.path, "seed": self.seed, "texts": texts, "token_ids_sha256": digest}
        distinct = {task: len(set(rows)) for task, rows in self._ids.items()}
        return described if distinct == texts else {**described, "distinct_texts": distinct}


def request_of(workload: Workload, task: str, index: int, batch: int = 1, mixed_tasks: Sequence[str] = ()) -> Request:
    """Request ``index`` of ``task``: a batch has the prompts from ``index * batch`` on.

    In a mixed batch each prompt is of the next of ``mixed_tasks``, the first of ``task``.
    """
    if batch == 1:
        return workload.request(task, index)
    first = mixed_tasks.index(task) if mixed_tasks else 0
    tasks = [mixed_tasks[(first + i) % len(mixed_tasks)] if mixed_tasks else task for i in range(batch)]
    prompts = tuple(workload.request(tasks[i], index * batch + i) for i in range(batch))
    output_tokens = workload.request(task, index).output_tokens  # of one request: a batch goes on for all alike
    return Request(task, index, sum(p.tokens for p in prompts), None, output_tokens, prompts)


@cache
def glue_lengths() -> dict[str, list[tuple[int, int]]]:
    """For each task its (tokens, count of examples)."""
    found: dict[str, list[tuple[int, int]]] = {}
    with resources.files("raybench").joinpath("model", "glue_token_lengths.csv").open("r", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["task"], []).append((int(row["tokens"]), int(row["count"])))
    return found


def glue_tasks() -> tuple[str, ...]:
    """The tasks whose token lengths ship with the package."""
    return tuple(glue_lengths())


class Tokenize(Protocol):
    """Token ids of a text, cut at ``max_tokens``."""

    def __call__(self, text: str, max_tokens: int, /) -> Sequence[int]: ...


def read_texts(
    path: str,
    tasks: Iterable[str],
    tokenize: Tokenize,
    *,
    text_column: str,
    task_column: str | None,
    max_tokens: int,
    seed: int,
) -> Texts:
    """Read a Parquet or JSONL file of texts and tokenize it for each task.

    Raises InputError where the file, the column or a task's texts are missing.
    """
    columns = [text_column] if task_column is None else [text_column, task_column]
    rows = _read_parquet(path, columns) if path.endswith(".parquet") else _read_jsonl(path, columns)
    by_task: dict[str, list[list[int]]] = {}
    for task in tasks:
        texts = [row[text_column] for row in rows if task_column is None or row[task_column] == task]
        if not texts:
            which = "it holds no texts" if task_column is None else f"no text has {task_column} = {task!r}"
            raise InputError(f"{path}: {which}; add some or take the task out of the plan")
        ids = [list(tokenize(text, max_tokens)) for text in texts]
        if any(not i for i in ids):
            raise InputError(f"{path}: a text of task {task!r} has no tokens; take empty texts out")
        by_task[task] = ids
    return Texts(path, by_task, seed)


def _read_parquet(path: str, columns: list[str]) -> list[dict[str, Any]]:
    check_regular(Path(path))
    try:
        # Of this file alone: read_table would take columns from folders named key=value above it.
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            for column in columns:
                if schema.get_field_index(column) < 0:  # absent, or there twice
                    raise InputError(f"{path}: no column {column!r} of its own; it has {', '.join(schema.names[:12])}")
                if not _holds_text(schema.field(column).type):
                    raise InputError(f"{path}: column {column!r} holds {schema.field(column).type}, not text")
            rows: list[dict[str, Any]] = file.read(columns=columns).to_pylist()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as Parquet with columns {columns}: {error}") from None
    return _check(path, rows, columns)


def _holds_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _read_jsonl(path: str, columns: list[str]) -> list[dict[str, Any]]:
    check_regular(Path(path))
    try:
        rows = [json.loads(line) for line in Path(path).read_text("utf-8").split("\n") if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON lines: {error}") from None
    return _check(path, rows, columns)


def _check(path: str, rows: list[Any], columns: list[str]) -> list[dict[str, Any]]:
    for number, row in enumerate(rows, 1):
        for column in columns:
            text = row.get(column) if isinstance(row, dict) else None
            if not isinstance(text, str):
                raise InputError(f"{path}: row {number}: expected a text in column {column!r}")
            if not _is_unicode(text):
                raise InputError(
                    f"{path}: row {number}: column {column!r} holds half a surrogate pair, which is no text"
                )
    return rows


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def draw_token_ids(request: Request, vocabulary_size: int, avoid: Collection[int] = ()) -> tuple[int, ...]:
    """The request's token ids: its own, or as many as it is long, drawn from its task and index alone.

    None of ``avoid`` is drawn as long as the vocabulary has others: where a prompt ends is told by the padding token.
    """
    if request.token_ids is not None:
        return request.token_ids
    rng = np.random.default_rng([zlib.crc32(request.task.encode()), request.index])
    first = min(_FIRST_WORD_ID, vocabulary_size - 1)
    avoided = sorted({i for i in avoid if first <= i < vocabulary_size})
    if len(avoided) >= vocabulary_size - first:
        first, avoided = 0, sorted({i for i in avoid if 0 <= i < vocabulary_size})
    if len(avoided) >= vocabulary_size:
        avoided = []
    ids = rng.integers(first, vocabulary_size - len(avoided), request.tokens)
    for special in avoided:  # in rising order: those from it on move up by one
        ids += ids >= special
    return tuple(ids.tolist())
