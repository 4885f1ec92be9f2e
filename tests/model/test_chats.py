"""A chat is a list of messages of role and content; anything else is told in one line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from raybench.model.chats import messages_of, without_answer
from raybench.records import InputError

USER = {"role": "user", "content": "why?"}
ANSWER = {"role": "assistant", "content": "so."}


def refused(value: Any) -> str:
    with pytest.raises(InputError) as caught:
        messages_of(value)
    (line,) = caught.value.lines
    assert len(line.splitlines()) == 1
    return line


def test_messages_are_kept_with_all_that_they_have_but_null() -> None:
    value = [USER | {"name": None, "tool_calls": [{"id": 1}]}, ANSWER]
    assert messages_of(value) == messages_of(json.dumps(value)) == [USER | {"tool_calls": [{"id": 1}]}, ANSWER]


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
def test_the_roles_of_messages(role: str) -> None:
    assert messages_of([{"role": role, "content": ""}]) == [{"role": role, "content": ""}]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "expected a list of messages, got 'None'"),
        (3, "expected a list of messages, got '3'"),
        (USER, """expected a list of messages, got "{'role': 'user', 'content': 'why?'}\""""),
        ("why?", "expected a list of messages or its JSON: Expecting value: line 1 column 1 (char 0)"),
        ('"why?"', "expected a list of messages, got 'why?'"),
        ("[" * 100_000, "expected a list of messages or its JSON: "),
        ([], "a chat without messages"),
        ("[]", "a chat without messages"),
        ([USER, "why?"], "message 2: expected a role and a content, got 'why?'"),
        ([{}], "message 1: no role; it has nothing"),
        ([{"from": "human", "value": "why?"}], "message 1: no role; it has from, value"),
        ([USER, {"role": "user"}], "message 2: no content; it has role"),
        ([{"role": 3, "content": "a"}], "message 1: expected a text as role, got '3'"),
        ([{"role": "user", "content": None}], "message 1: expected a text as content, got 'None'"),
        ([{"role": "user", "content": ["a"]}], """message 1: expected a text as content, got "['a']\""""),
        (
            [{"role": "User", "content": "a"}],
            "message 1: unknown role 'User'; expected one of system, developer, user, assistant, tool",
        ),
        ([{"role": "user", "content": "a\ud800"}], "message 1: not JSON: 'utf-8' codec can't encode character"),
        ([USER | {"name": "\udfff"}], "message 1: not JSON: 'utf-8' codec can't encode character"),
        ([USER | {"name": b"a"}], "message 1: not JSON: Object of type bytes is not JSON serializable"),
    ],
)
def test_what_is_no_chat_is_told_in_one_line(value: Any, said: str) -> None:
    assert refused(value).startswith(said)


def test_an_answer_at_the_end_is_what_the_model_is_to_give() -> None:
    assert without_answer([USER, ANSWER]) == [USER]
    assert without_answer([USER, ANSWER, ANSWER]) == [USER]
    assert without_answer([USER, ANSWER, USER]) == [USER, ANSWER, USER]
    with pytest.raises(InputError, match="a chat in which nothing is asked"):
        without_answer([ANSWER, ANSWER])
