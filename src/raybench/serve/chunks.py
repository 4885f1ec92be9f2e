"""What one event of a stream says: text, token ids, log probabilities, counts; checked, since others said it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Final

from raybench.model import is_unicode
from raybench.serve.faults import AnswerFault, message_of, one_line

_MOST: Final = 2**31 - 1
"""Of a token's id, and of any count."""


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """The server's own counts; None: not told. ``cached_tokens``: of the prompt, found in its prefix cache."""

    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """One event. ``text`` has reasoning as well, where a server tells it apart.

    ``token_ids``, ``logprobs`` (of the tokens that were chosen; None of one: not told): None where the event has none.
    """

    text: str = ""
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float | None, ...] | None = None
    finish_reason: str | None = None
    usage: Usage | None = None

    @property
    def carries_tokens(self) -> bool:
        """Whether something was generated for it: not the role that a chat begins with, nor counts."""
        return bool(self.text or self.token_ids or self.logprobs)

    @property
    def tokens(self) -> int | None:
        """How many tokens it carries, by their ids or log probabilities; None where neither is told."""
        told = self.token_ids if self.token_ids is not None else self.logprobs
        return None if told is None else len(told)


def chunk_of(data: bytes) -> Chunk:
    """The event whose data are ``data``. Raises `AnswerFault`: of what is no chunk, and of an error that it tells."""
    try:
        found = json.loads(data.decode("utf-8"), parse_constant=_no_number)
        if (error := message_of(found)) is not None:
            raise AnswerFault(f"the server tells an error within its answer: {one_line(error)}")
    except UnicodeDecodeError as error:
        raise AnswerFault(
            f"the server sent what is no UTF-8: {error.reason}, at byte {error.start} of an event"
        ) from None
    except (ValueError, RecursionError) as error:
        said = one_line(data.decode("utf-8"))
        raise AnswerFault(f"the server sent an event that is no JSON ({one_line(str(error))}): {said}") from None
    if not isinstance(found, dict):
        raise AnswerFault(f"the server sent an event that is no object: {_shown(found)}")
    choices = found.get("choices")
    if not isinstance(choices, list | None) or len(choices or ()) > 1:
        raise _unexpected("choices", "a list of one", choices)
    usage = _usage(found.get("usage"))
    return _choice(choices[0], usage) if choices else Chunk(usage=usage)


def _choice(choice: Any, usage: Usage | None) -> Chunk:
    if not isinstance(choice, dict):
        raise _unexpected("choices[0]", "an object", choice)
    delta = choice.get("delta")
    if delta is None:
        text = _text(choice, "text")
    elif isinstance(delta, dict):
        text = (_text(delta, "reasoning_content") or _text(delta, "reasoning")) + _text(delta, "content")
    else:
        raise _unexpected("delta", "an object", delta)
    reason = choice.get("finish_reason")
    if not isinstance(reason, str | None):
        raise _unexpected("finish_reason", "a text", reason)
    logprobs = choice.get("logprobs")
    ids = _token_ids(choice.get("token_ids"))
    told = _logprobs(logprobs)  # checked: what ids are read from is a list of objects
    return Chunk(text, _ids_of(logprobs) if ids is None else ids, told, reason, usage)


def _text(found: dict[str, Any], key: str) -> str:
    text = found.get(key)
    if text is None:
        return ""
    if not isinstance(text, str) or not is_unicode(text):
        raise _unexpected(key, "a text", text)
    return text


def _token_ids(found: Any) -> tuple[int, ...] | None:
    if found is None:
        return None
    if not isinstance(found, list) or not all(_is_count(one) for one in found):
        raise _unexpected("token_ids", "a list of numbers", found)
    return tuple(found)


def _ids_of(logprobs: Any) -> tuple[int, ...] | None:
    """Token ids beside their log probabilities, as llama.cpp's server tells them; None where one has none."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    ids = [one.get("id") for one in content or ()]
    return _token_ids(ids) if ids and None not in ids else None


def _logprobs(found: Any) -> tuple[float | None, ...] | None:
    """Of either API: ``{"token_logprobs": [...]}``, or ``{"content": [{"logprob": ...}, ...]}``."""
    if found is None:
        return None
    if not isinstance(found, dict):
        raise _unexpected("logprobs", "an object", found)
    key = "content" if "content" in found else "token_logprobs"
    of_tokens = found.get(key)
    if of_tokens is None:
        return None
    if not isinstance(of_tokens, list):
        raise _unexpected(key, "a list", of_tokens)
    if key == "content":
        if not all(isinstance(one, dict) for one in of_tokens):
            raise _unexpected(key, "a list of objects", of_tokens)
        of_tokens = [one.get("logprob") for one in of_tokens]
    if not all(one is None or _is_finite(one) for one in of_tokens):
        raise _unexpected("logprobs", "numbers", of_tokens)
    return tuple(None if one is None else float(one) for one in of_tokens)


def _usage(found: Any) -> Usage | None:
    if found is None:
        return None
    if not isinstance(found, dict):
        raise _unexpected("usage", "an object", found)
    details = found.get("prompt_tokens_details")
    if not isinstance(details, dict | None):
        raise _unexpected("prompt_tokens_details", "an object", details)
    return Usage(
        _count(found, "prompt_tokens"), _count(found, "completion_tokens"), _count(details or {}, "cached_tokens")
    )


def _count(found: dict[str, Any], key: str) -> int | None:
    count = found.get(key)
    if count is not None and not _is_count(count):
        raise _unexpected(key, "a number of tokens", count)
    return None if count is None else int(count)


def _is_count(found: Any) -> bool:
    return isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= _MOST


def _is_finite(found: Any) -> bool:
    # 1e999 is read as infinity, and an int may be too large for a float.
    return isinstance(found, int | float) and not isinstance(found, bool) and abs(found) < 1e300


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _unexpected(key: str, expected: str, found: Any) -> AnswerFault:
    return AnswerFault(f"the server sent an event whose {key} is not {expected}: {_shown(found)}")


def _shown(found: Any) -> str:
    try:
        return one_line(json.dumps(found))
    except RecursionError:
        return "something deeply nested"
