"""Requests from a person's own texts or chats."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from raybench.model.text_files import Column, read_rows
from raybench.model.token_counts import Counts, TokenArray, TokenCounts
from raybench.model.workload import Request
from raybench.records import InputError


@dataclasses.dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of a text. ``cut``: it has more. ``answer_left_out``: a chat ended in one, which is not asked."""

    ids: Sequence[int]
    cut: bool = False
    answer_left_out: bool = False


class Tokenize(Protocol):
    """Token ids of a text, or of a list of messages. Raises InputError where there are none."""

    def __call__(self, content: Any, /) -> Tokens: ...


class Texts:
    """Requests from a person's own texts, tokenized; in an order drawn once from a seed.

    ``by_task``: the token ids of each text of each task. ``output_tokens``: None for a classifier. ``told``: counts of
    texts by task that a description has besides, under their names, and ``notes`` what a reader should know of them.
    """

    def __init__(
        self,
        path: str,
        by_task: Mapping[str, Sequence[Sequence[int]]],
        seed: int,
        output_tokens: Counts | None = None,
        told: Mapping[str, Mapping[str, int]] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.path, self.seed, self.notes = path, seed, notes
        self._told = dict(told or {})
        self._outputs = TokenCounts(output_tokens, seed, "output")
        self._ids: dict[str, list[tuple[int, ...]]] = {}
        for task, rows in by_task.items():
            order = np.random.default_rng([seed, zlib.crc32(task.encode())]).permutation(len(rows))
            self._ids[task] = [tuple(rows[i]) for i in order]

    def request(self, task: str, index: int) -> Request:
        rows = self._ids[task]
        ids = rows[index % len(rows)]
        return Request(task, index, len(ids), ids, self._outputs.at(task, index))

    def prompt_tokens(self, task: str, count: int) -> TokenArray:
        return np.resize(np.array([len(ids) for ids in self._ids[task]], dtype=np.int32), count)  # goes round again

    def output_tokens(self, task: str, count: int) -> TokenArray:
        return self._outputs.first(task, count)

    def largest_token_id(self, task: str, count: int) -> int:
        return max(map(max, self._ids[task][:count]))

    def describe(self) -> dict[str, Any]:
        texts = {task: len(rows) for task, rows in self._ids.items()}
        digest = hashlib.sha256(json.dumps(self._ids, sort_keys=True).encode()).hexdigest()
        described = {"source": self.path, "seed": self.seed, "texts": texts, "token_ids_sha256": digest}
        described |= self._told | self._outputs.describe("output_tokens")
        distinct = {task: len(set(rows)) for task, rows in self._ids.items()}
        return described if distinct == texts else {**described, "distinct_texts": distinct}


def read_texts(
    path: str,
    tasks: Iterable[str],
    tokenizer: Callable[[], Tokenize],
    *,
    column: Column,
    task_column: str | None,
    seed: int,
    output_tokens: Counts | None = None,
) -> Texts:
    """Read a Parquet, JSONL or CSV file of texts or chats and tokenize those of each task.

    ``tokenizer`` is asked when all rows are known to be right: libraries are imported for it.
    Raises InputError where the file, the column or a task's texts are missing, or a text has no tokens.
    """
    rows = read_rows(path, column, task_column)
    tokenize = tokenizer()
    found: dict[str, list[Tokens]] = {task: [] for task in tasks}
    for number, row in enumerate(rows, 1):
        if task_column is None:
            tokens = _tokens(path, number, row[column.name], tokenize)
            for of_task in found.values():
                of_task.append(tokens)
        elif (task := row[task_column]) in found:
            found[task].append(_tokens(path, number, row[column.name], tokenize))
    for task, of_task in found.items():
        if not of_task:
            which = (
                f"it holds no {column.kind}s"
                if task_column is None
                else f"no {column.kind} has {task_column} = {task!r}"
            )
            raise InputError(f"{path}: {which}; add some or take the task out of the plan")
    by_task = {task: [tokens.ids for tokens in of_task] for task, of_task in found.items()}
    told, notes = _told(path, found, column.kind, apart=task_column is not None)
    return Texts(path, by_task, seed, output_tokens, told, notes)


def _tokens(path: str, number: int, content: Any, tokenize: Tokenize) -> Tokens:
    try:
        tokens = tokenize(content)
    except InputError as error:
        raise InputError(f"{path}: row {number}: {error}") from None
    if not tokens.ids:
        raise InputError(f"{path}: row {number}: it has no tokens; take empty texts out")
    return tokens


def _told(
    path: str, found: Mapping[str, Sequence[Tokens]], kind: str, *, apart: bool
) -> tuple[dict[str, dict[str, int]], tuple[str, ...]]:
    """What a description and its reader are told of texts that are not sent as they are."""
    told: dict[str, dict[str, int]] = {}
    notes: dict[str, None] = {}
    for task, of_task in found.items():
        of = f"of {len(of_task):,} {kind}s" + (f" of task {task}" if apart else "")
        if cut := [tokens for tokens in of_task if tokens.cut]:
            told.setdefault("cut_texts", {})[task] = len(cut)
            longest = max(len(tokens.ids) for tokens in cut)
            notes[f"{path}: {len(cut):,} {of} are longer than {longest:,} tokens and were cut to that length"] = None
        if left := sum(tokens.answer_left_out for tokens in of_task):
            told.setdefault("answers_left_out", {})[task] = left
            notes[f"{path}: {left:,} {of} end in an answer, which is left out: the model is to give it"] = None
    return told, tuple(notes)
