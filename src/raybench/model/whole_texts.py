"""Requests from a person's own texts or chats as they are, for a server of which no tokenizer is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from raybench.model.chats import as_messages
from raybench.model.text_files import Column, read_rows
from raybench.model.texts import drawn_order, rows_by_task
from raybench.model.token_counts import Counts, TokenArray, TokenCounts
from raybench.model.workload import Messages, Request
from raybench.records import InputError


class WholeTexts:
    """As `Texts`, in the same order, of texts that nobody tokenized: ``tokens`` are their words, divided by spaces.

    ``by_task``: the messages of each text. What a server makes of them is counted by the server.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self, path: str, by_task: Mapping[str, Sequence[Messages]], seed: int, output_tokens: Counts | None
    ) -> None:
        self.path, self.seed = path, seed
        self._outputs = TokenCounts(output_tokens, seed, "output")
        self._texts = {task: [rows[i] for i in drawn_order(seed, task, len(rows))] for task, rows in by_task.items()}

    def request(self, task: str, index: int) -> Request:
        rows = self._texts[task]
        messages = rows[index % len(rows)]
        outputs = self._outputs.at(task, index)
        return Request(task, index, _words(messages), output_tokens=outputs, messages=messages)

    def prompt_tokens(self, task: str, count: int) -> TokenArray:
        return np.resize(np.array([_words(messages) for messages in self._texts[task]], dtype=np.int32), count)

    def output_tokens(self, task: str, count: int) -> TokenArray:
        return self._outputs.first(task, count)

    def largest_token_id(self, task: str, count: int) -> None:
        return None

    def describe(self) -> dict[str, Any]:
        digest = hashlib.sha256(json.dumps(self._texts, sort_keys=True).encode()).hexdigest()
        texts = {task: len(rows) for task, rows in self._texts.items()}
        described = {"source": self.path, "seed": self.seed, "texts": texts, "texts_sha256": digest}
        described |= {"tokens_are": "words, divided by spaces"} | self._outputs.describe("output_tokens")
        distinct = {task: len(set(rows)) for task, rows in self._texts.items()}
        return described if distinct == texts else {**described, "distinct_texts": distinct}


def read_whole_texts(
    path: str,
    tasks: Iterable[str],
    *,
    column: Column,
    task_column: str | None,
    seed: int,
    output_tokens: Counts | None,
) -> WholeTexts:
    """As `read_texts`, without a tokenizer: nothing is cut. Raises InputError."""

    def made(content: Any) -> Messages:
        messages = as_messages(content)
        if not _words(messages):
            raise InputError("it has no words; take empty texts out")
        return messages

    rows = read_rows(path, column, task_column)
    by_task = rows_by_task(path, rows, tasks, made, column=column, task_column=task_column)
    return WholeTexts(path, by_task, seed, output_tokens)


def _words(messages: Messages) -> int:
    return sum(len(content.split()) for _, content in messages)
