"""Texts and chats that are told to a server as they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from model.text_rows import ROWS, SUFFIXES, write
from raybench.model.text_files import Column
from raybench.model.texts import Texts, Tokens, read_texts
from raybench.model.whole_texts import WholeTexts, read_whole_texts
from raybench.records import InputError

TEXT, CHAT = Column("text"), Column("messages", "chat")


def of_bytes(text: str) -> Tokens:
    return Tokens(list(text.encode()))


def whole(path: str, tasks: Sequence[str] = ("films", "news"), **options: Any) -> WholeTexts:
    said = {"column": TEXT, "task_column": "kind", "seed": 0, "output_tokens": 4} | options
    return read_whole_texts(path, tasks, **said)


def kept(path: str, tokenize: Any = of_bytes, **options: Any) -> Texts:
    said = {"column": TEXT, "task_column": "kind", "seed": 0, "keep_text": True} | options
    return read_texts(path, ("films", "news"), lambda: tokenize, **said)


def chats(folder: Path, *chats: list[dict[str, Any]]) -> str:
    path = folder / "chats.jsonl"
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    return str(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_texts_are_those_of_the_file_in_the_order_of_tokenized_ones(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"t.{suffix}", ROWS)
    found, tokenized = whole(path), kept(path)
    for task in ("films", "news"):
        expected = {(("user", row["text"]),) for row in ROWS if row["kind"] == task}
        requests = [found.request(task, i) for i in range(2 * len(expected))]
        assert {request.messages for request in requests} == expected
        beside = [tokenized.request(task, i) for i in range(len(requests))]
        assert [request.messages for request in requests] == [request.messages for request in beside]
        assert [r.token_ids for r in beside] == [tuple((r.messages or ())[0][1].encode()) for r in beside]
        assert {request.token_ids for request in requests} == {None}
        assert {request.output_tokens for request in requests} == {4}
        counts = [len((request.messages or ())[0][1].split()) for request in requests]
        assert [request.tokens for request in requests] == counts
        assert found.prompt_tokens(task, len(requests)).tolist() == counts
        assert found.output_tokens(task, 3).tolist() == [4, 4, 4]
        assert found.largest_token_id(task, 9) is None


def test_a_description_says_that_tokens_are_words(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"text": "a film", "kind": "films"}, {"text": "a film", "kind": "films"}])
    described = whole(path, ("films",)).describe()
    assert len(described.pop("texts_sha256")) == 64
    assert described == {
        "source": path,
        "seed": 0,
        "texts": {"films": 2},
        "distinct_texts": {"films": 1},
        "tokens_are": "words, divided by spaces",
        "output_tokens": 4,
    }
    other = write(tmp_path / "u.jsonl", [{"text": "a Film", "kind": "films"}])
    assert whole(other, ("films",)).describe()["texts_sha256"] != whole(path, ("films",)).describe()["texts_sha256"]


def test_of_a_chat_what_is_asked_is_told_message_by_message(tmp_path: Path) -> None:
    system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is it so?"}
    path = chats(tmp_path, [system, user, {"role": "assistant", "content": "Because."}])
    (request,) = (whole(path, ("t",), column=CHAT, task_column=None).request("t", i) for i in range(1))
    assert request.messages == (("system", "Be brief."), ("user", "Why is it so?"))
    assert request.tokens == 6


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        (
            [{"role": "user", "content": "x", "name": "me", "id": 3}],
            "row 1: message 1: it has id, name, and servers are told role and content: leave it out",
        ),
        (
            [{"role": "assistant", "content": "x"}],
            "row 1: a chat in which nothing is asked: all of its messages are the assistant's",
        ),
        ([{"role": "user", "content": " "}], "row 1: it has no words; take empty texts out"),
    ],
)
def test_a_chat_that_would_not_be_told_whole_is_refused(
    tmp_path: Path, chat: list[dict[str, Any]], message: str
) -> None:
    path = chats(tmp_path, chat)
    with pytest.raises(InputError) as caught:
        whole(path, ("t",), column=CHAT, task_column=None)
    assert str(caught.value) == f"{path}: {message}"


def test_a_text_that_was_cut_is_not_told_whole_in_silence(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", ROWS)
    with pytest.raises(InputError) as caught:
        kept(path, lambda text: Tokens([1, 2], cut=True))
    assert str(caught.value) == (
        f"{path}: row 1: it is longer than 2 tokens, and a server that is told texts is told all of it: take it out, "
        "set a larger workload.max_tokens, or have prompts told as token_ids"
    )


def test_texts_are_kept_only_where_they_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", ROWS)
    assert kept(path, keep_text=False).request("news", 0).messages is None
    assert kept(path).describe() == kept(path, keep_text=False).describe()
