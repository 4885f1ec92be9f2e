"""What is wrong with an answer, as it is told: one line, in which nothing of the server's can act or run on."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Final

KEPT_BYTES: Final = 2048
"""Of the body of an answer that is not what was asked for."""

_LONGEST_TOLD: Final = 400
_REFUSALS: Final = frozenset({429, 503})


class AnswerFault(Exception):  # noqa: N818  an answer has it, and it never leaves the room
    """What is wrong with one answer. It becomes `Answer.error`; other requests go on."""


def one_line(text: str) -> str:
    """Foreign text as one line of printable characters, at most some hundred of them."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:KEPT_BYTES]).split())
    return line if len(line) <= _LONGEST_TOLD else f"{line[:_LONGEST_TOLD]}..."


def message_of(found: Any) -> str | None:
    """The message of an error as OpenAI's API, vLLM, llama.cpp and FastAPI tell it; None of JSON that tells none."""
    if not isinstance(found, dict):
        return None
    error = found.get("error")
    if not error and (found.get("object") == "error" or "detail" in found):
        error = found
    if not error:
        return None
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error
    return error if isinstance(error, str) else json.dumps(error)


def told(body: bytes) -> str:
    """What a body says, in one line: the message of its JSON where it has one."""
    text = body[:KEPT_BYTES].decode("utf-8", "replace")
    with contextlib.suppress(ValueError, RecursionError):
        text = message_of(json.loads(text)) or text
    return one_line(text)


def status_fault(status: int, body: bytes) -> str:
    """What an answer with another status than 200 is told as."""
    said = told(body)
    what = "the server refuses" if status in _REFUSALS else "the server answered with an error"
    return f"{what}: {status}{f': {said}' if said else ''}"
