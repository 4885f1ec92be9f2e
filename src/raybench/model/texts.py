"""Requests from a person's own texts or chats."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from raybench.model.chats import as_messages
from raybench.model.text_files import Column, read_rows
from raybench.model.token_counts import Counts, TokenArray, TokenCounts
from raybench.model.workload import Messages, Request
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
    ``messages``: each text as it is, in the order of ``by_task``, where servers are told that.
    """

    def __init__(
        self,
        path: str,
        by_task: Mapping[str, Sequence[Sequence[int]]],
        seed: int,
        output_tokens: Counts | None = None,
        told: Mapping[str, Mapping[str, int]] | None = None,
        notes: tuple[str, ...] = (),
        messages: Mapping[str, Sequence[Messages]] | None = None,
    ) -> None:
        self.path, self.seed, self.notes = path, seed, notes
        self._told = dict(told or {})
        self._outputs = TokenCounts(output_tokens, seed, "output")
        self._ids: dict[str, list[tuple[int, ...]]] = {}
        self._messages: dict[str, list[Messages]] = {}
        for task, rows in by_task.items():
            order = drawn_order(seed, task, len(rows))
            self._ids[task] = [tuple(rows[i]) for i in order]
            if messages is not None:
                self._messages[task] = [messages[task][i] for i in order]

    def request(self, task: str, index: int) -> Request:
        rows = self._ids[task]
        place = index % len(rows)
        ids, messages = rows[place], self._messages[task][place] if self._messages else None
        return Request(task, index, len(ids), ids, self._outputs.at(task, index), messages=messages)

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


def drawn_order(seed: int, task: str, count: int) -> list[int]:
    """In which order the texts of a task come: all of them once before any comes again."""
    found: list[int] = np.random.default_rng([seed, zlib.crc32(task.encode())]).permutation(count).tolist()
    return found


def read_texts(
    path: str,
    tasks: Iterable[str],
    tokenizer: Callable[[], Tokenize],
    *,
    column: Column,
    task_column: str | None,
    seed: int,
    output_tokens: Counts | None = None,
    keep_text: bool = False,
) -> Texts:
    """Read a Parquet, JSONL or CSV file of texts or chats and tokenize those of each task.

    ``tokenizer`` is asked when all rows are known to be right: libraries are imported for it. ``keep_text``: requests
    also have what was read as it is, for servers that are told that.
    Raises InputError where the file, the column or a task's texts are missing, or a text has no tokens.
    """
    rows = read_rows(path, column, task_column)
    tokenize = tokenizer()

    def made(content: Any) -> tuple[Tokens, Messages | None]:
        tokens = tokenize(content)
        if not tokens.ids:
            raise InputError("it has no tokens; take empty texts out")
        if not keep_text:
            return tokens, None
        if tokens.cut:
            raise InputError(
                f"it is longer than {len(tokens.ids):,} tokens, and a server that is told texts is told all of it: "
                "take it out, set a larger workload.max_tokens, or have prompts told as token_ids"
            )
        return tokens, as_messages(content)

    found = rows_by_task(path, rows, tasks, made, column=column, task_column=task_column)
    of_tasks = {task: [tokens for tokens, _ in of_task] for task, of_task in found.items()}
    by_task = {task: [tokens.ids for tokens in of_task] for task, of_task in of_tasks.items()}
    told, notes = _told(path, of_tasks, column.kind, apart=task_column is not None)
    messages = {task: [m for _, m in of_task if m is not None] for task, of_task in found.items()}
    return Texts(path, by_task, seed, output_tokens, told, notes, messages if keep_text else None)


Made = TypeVar("Made")


def rows_by_task(
    path: str,
    rows: Iterable[Mapping[str, Any]],
    tasks: Iterable[str],
    make: Callable[[Any], Made],
    *,
    column: Column,
    task_column: str | None,
) -> dict[str, list[Made]]:
    """What ``make`` makes of each text or chat, by task; without a task column each is of all.

    Raises InputError with its row where ``make`` does, and where a task has none.
    """
    found: dict[str, list[Made]] = {task: [] for task in tasks}
    for number, row in enumerate(rows, 1):
        if task_column is not None and row[task_column] not in found:
            continue
        try:
            made = make(row[column.name])
        except InputError as error:
            raise InputError(f"{path}: row {number}: {error}") from None
        for of_task in found.values() if task_column is None else (found[row[task_column]],):
            of_task.append(made)
    for task, of_task in found.items():
        if not of_task:
            which = (
                f"it holds no {column.kind}s"
                if task_column is None
                else f"no {column.kind} has {task_column} = {task!r}"
            )
            raise InputError(f"{path}: {which}; add some or take the task out of the plan")
    return found


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
