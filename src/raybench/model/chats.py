"""Chats: lists of messages as people keep them, each checked before a model's template sees it."""

from __future__ import annotations

import json
from typing import Any

from raybench.model.workload import Messages
from raybench.plan import first_of
from raybench.records import InputError

ROLES = ("system", "developer", "user", "assistant", "tool")
"""A template may pass over a message of a role that it does not know, without a word."""


def messages_of(value: Any) -> list[dict[str, Any]]:
    """The messages of one chat, or of the JSON of one, without keys that are null.

    Raises InputError where it is no list of messages that each have a role and a text as content.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise InputError(f"expected a list of messages or its JSON: {error}") from None
    if not isinstance(value, list):
        raise InputError(f"expected a list of messages, got {str(value)[:60]!r}")
    if not value:
        raise InputError("a chat without messages")
    return [_message(place, message) for place, message in enumerate(value, 1)]


def without_answer(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a model is asked: all up to the last message that is not its own. Raises InputError where none is."""
    asked = len(messages)
    while asked and messages[asked - 1]["role"] == "assistant":
        asked -= 1
    if not asked:
        raise InputError("a chat in which nothing is asked: all of its messages are the assistant's")
    return messages[:asked]


def as_messages(content: Any) -> Messages:
    """What a server is told of a text, or of what is asked by a list of messages.

    Raises InputError where messages have more than a role and a content, which it would not be told.
    """
    if isinstance(content, str):
        return (("user", content),)
    asked = without_answer(content)
    for place, message in enumerate(asked, 1):
        if further := sorted(message.keys() - {"role", "content"}):
            raise InputError(
                f"message {place}: it has {first_of(further, 4)}, and servers are told role and content: leave it out"
            )
    return tuple((message["role"], message["content"]) for message in asked)


def _message(place: int, message: Any) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise InputError(f"message {place}: expected a role and a content, got {str(message)[:60]!r}")
    for key in ("role", "content"):
        if key not in message:
            has = first_of([str(k)[:40] for k in message], 6) or "nothing"
            raise InputError(f"message {place}: no {key}; it has {has}")
        if not isinstance(message[key], str):
            raise InputError(f"message {place}: expected a text as {key}, got {str(message[key])[:60]!r}")
    if message["role"] not in ROLES:
        raise InputError(f"message {place}: unknown role {message['role'][:40]!r}; expected one of {', '.join(ROLES)}")
    try:
        json.dumps(message, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:  # half a surrogate pair is a ValueError
        raise InputError(f"message {place}: not JSON: {str(error)[:100]}") from None
    return {key: value for key, value in message.items() if value is not None}
