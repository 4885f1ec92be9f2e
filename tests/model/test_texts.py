"""A person's own texts and chats as requests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from model.text_rows import ROWS, SUFFIXES, write
from raybench.model.prepare import make_tokenizer
from raybench.model.shipped_shapes import preset_shape
from raybench.model.text_files import Column
from raybench.model.texts import Texts, Tokenize, Tokens, read_texts
from raybench.model.tokenizer import text_tokenizer
from raybench.model.weights import ModelSpec
from raybench.records import InputError

MICRO = ModelSpec("micro", "preset_files")


@pytest.fixture(scope="module")
def tokenize() -> Tokenize:
    return text_tokenizer(None, MICRO)


def of_bytes(text: str) -> Tokens:
    return Tokens(list(text.encode()))


def texts(path: str, tokenize: Tokenize = of_bytes, tasks: Sequence[str] = ("news",), **options: Any) -> Texts:
    return read_texts(
        path, tasks, lambda: tokenize, **{"column": Column("text"), "task_column": "kind", "seed": 0} | options
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_texts_become_requests_with_the_tokenizers_ids(tmp_path: Path, tokenize: Tokenize, suffix: str) -> None:
    found = texts(write(tmp_path / f"t.{suffix}", ROWS), tokenize, ("films", "news"))
    news = [row["text"] for row in ROWS if row["kind"] == "news"]
    expected = {tuple(tokenize(text).ids) for text in news}
    first = [found.request("news", i) for i in range(4)]
    assert {r.token_ids for r in first} == expected
    assert [r.tokens for r in first] == [len(r.token_ids or ()) for r in first]
    again = [found.request("news", i) for i in range(4, 8)]
    assert [r.token_ids for r in again] == [r.token_ids for r in first]
    assert [r.index for r in again] == [4, 5, 6, 7]
    assert found.request("films", 0).token_ids == tuple(tokenize(ROWS[0]["text"]).ids)
    decode = make_tokenizer("micro").decode
    assert {decode(ids, skip_special_tokens=True).strip() for ids in expected} == set(news)


def test_files_of_the_same_rows_give_the_same_requests(tmp_path: Path) -> None:
    each = [texts(write(tmp_path / f"t.{suffix}", ROWS)) for suffix in SUFFIXES]
    parquet, jsonl, of_csv = ([found.request("news", i) for i in range(9)] for found in each)
    assert parquet == jsonl == of_csv


def test_the_order_of_texts_is_drawn_from_the_seed_and_does_not_depend_on_other_tasks(tmp_path: Path) -> None:
    rows = [{"text": f"text number {i}", "kind": ("news", "films")[i % 2]} for i in range(80)]
    path = write(tmp_path / "t.jsonl", rows)
    drawn = {
        (seed, tasks): [texts(path, tasks=tasks, seed=seed).request("news", i).token_ids for i in range(40)]
        for seed in (0, 1)
        for tasks in (("news",), ("films", "news"))
    }
    assert drawn[0, ("news",)] == drawn[0, ("films", "news")]
    assert drawn[0, ("news",)] != drawn[1, ("news",)]
    in_file_order = [tuple(row["text"].encode()) for row in rows if row["kind"] == "news"]
    assert drawn[0, ("news",)] != in_file_order
    assert sorted(drawn[0, ("news",)]) == sorted(in_file_order)


def test_without_a_task_column_every_task_draws_from_the_whole_file_which_is_tokenized_once(tmp_path: Path) -> None:
    path, read = write(tmp_path / "t.jsonl", ROWS), []

    def counted(text: str) -> Tokens:
        read.append(text)
        return of_bytes(text)

    found = texts(path, counted, ("mrpc", "sst2"), task_column=None)
    assert len(read) == len(ROWS)
    told = found.describe()
    assert len(told.pop("token_ids_sha256")) == 64
    assert told == {"source": path, "seed": 0, "texts": {"mrpc": 5, "sst2": 5}}


def test_ids_of_texts_are_within_the_models_vocabulary(tmp_path: Path, tokenize: Tokenize) -> None:
    every_byte = "".join(chr(i) for i in range(0x250)) + "日本語 🙂 \x00"
    path = write(tmp_path / "t.jsonl", [{"text": every_byte, "kind": "news"}])
    found = texts(path, tokenize)
    assert found.request("news", 0).tokens > 500
    assert found.largest_token_id("news", 1) < preset_shape("micro")["config"]["vocab_size"]


def test_what_is_generated_is_drawn_for_each_request_also_where_texts_go_round_again(tmp_path: Path) -> None:
    found = texts(write(tmp_path / "t.jsonl", ROWS), output_tokens=[1, 2, 3])
    asked = [found.request("news", i) for i in range(200)]
    assert [r.output_tokens for r in asked] == found.output_tokens("news", 200).tolist()
    assert {(r.token_ids, r.output_tokens) for r in asked} == {(r.token_ids, n) for r in asked for n in (1, 2, 3)}
    assert found.describe()["output_tokens"] == [1, 2, 3]
    assert texts(write(tmp_path / "t.jsonl", ROWS)).request("news", 0).output_tokens == 0


def test_counts_are_those_of_the_requests(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"text": "a" * n, "kind": "news"} for n in range(1, 40)])
    mine = texts(path, lambda text: Tokens(list(range(100, 100 + len(text)))))
    for count in (1, 5, 100):
        asked = [mine.request("news", i).tokens for i in range(count)]
        assert mine.prompt_tokens("news", count).tolist() == asked
        assert mine.largest_token_id("news", count) == 99 + max(asked)


def refused(path: str, tokenize: Tokenize = of_bytes, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        texts(path, tokenize, **options)
    return str(caught.value).removeprefix(f"{path}: ")


def test_a_task_without_texts_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", ROWS)
    assert refused(path, tasks=("a",)) == "no text has kind = 'a'; add some or take the task out of the plan"
    (tmp_path / "t.jsonl").write_text("\n\n")
    assert refused(path, task_column=None) == "it holds no texts; add some or take the task out of the plan"
    (tmp_path / "t.csv").write_text("text,kind\n")
    assert refused(str(tmp_path / "t.csv")) == "no text has kind = 'news'; add some or take the task out of the plan"


def test_a_text_without_tokens_is_refused_with_its_row(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [*ROWS, {"text": "", "kind": "news"}])
    assert refused(path) == "row 6: it has no tokens; take empty texts out"
    assert texts(path, tasks=("films",)).describe()["texts"] == {"films": 1}  # of another task: not read


def test_what_a_tokenizer_refuses_is_told_with_its_row(tmp_path: Path) -> None:
    def refusing(text: str) -> Tokens:
        raise InputError("no")

    assert refused(write(tmp_path / "t.csv", ROWS), refusing) == "row 2: no"


def test_texts_that_are_not_sent_as_they_are_are_counted_in_the_description_and_noted(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [*ROWS, {"text": "x", "kind": "films"}])

    def cut(text: str) -> Tokens:
        return Tokens(list(text.encode())[:22], len(text.encode()) > 22, "film" in text)

    found = texts(path, cut, ("films", "news"))
    assert found.notes == (
        f"{path}: 1 of 2 texts of task films are longer than 22 tokens and were cut to that length",
        f"{path}: 1 of 2 texts of task films end in an answer, which is left out: the model is to give it",
        f"{path}: 1 of 4 texts of task news are longer than 22 tokens and were cut to that length",
    )
    told = found.describe()
    assert (told["cut_texts"], told["answers_left_out"]) == ({"films": 1, "news": 1}, {"films": 1})
    alike = texts(path, cut, ("a", "b"), task_column=None)
    assert alike.notes == (
        f"{path}: 2 of 6 texts are longer than 22 tokens and were cut to that length",
        f"{path}: 1 of 6 texts end in an answer, which is left out: the model is to give it",
    )
    assert alike.describe()["cut_texts"] == {"a": 2, "b": 2}


def test_chats_are_tokenized_as_lists_of_messages(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "why?"}]
    path = write(tmp_path / "t.csv", [{"chat": json.dumps(chat), "kind": "news"}])
    found = texts(
        path, lambda messages: Tokens([len(messages), ord(messages[0]["content"][0])]), column=Column("chat", "chat")
    )
    assert found.request("news", 0).token_ids == (1, ord("w"))
