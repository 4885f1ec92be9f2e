"""What servers are asked, as they are asked it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from raybench.records import InputError
from raybench.serve.openai_api import Asked

ALWAYS = {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}}


def test_token_ids_are_asked_of_completions() -> None:
    asked = Asked("support", 16, token_ids=(1, 2, 3))
    assert asked.path == "completions"
    assert json.loads(asked.body()) == {
        "model": "support",
        "max_tokens": 16,
        "prompt": [1, 2, 3],
        "seed": 0,
        "ignore_eos": True,
        **ALWAYS,
    }


def test_text_and_log_probabilities() -> None:
    asked = Asked("m", 1, text="Grüße\ud800", logprobs=5, seed=7, ignore_eos=False)
    body = asked.body()
    assert body.isascii()
    assert json.loads(body) == {
        "model": "m",
        "max_tokens": 1,
        "prompt": "Grüße\ud800",
        "seed": 7,
        "ignore_eos": False,
        "logprobs": 5,
        **ALWAYS,
    }


def test_chats_are_asked_of_chat_completions() -> None:
    asked = Asked("m", 2, messages=({"role": "user", "content": "hi"},), logprobs=0)
    assert asked.path == "chat/completions"
    assert json.loads(asked.body()) == {
        "model": "m",
        "max_tokens": 2,
        "messages": [{"role": "user", "content": "hi"}],
        "seed": 0,
        "ignore_eos": True,
        "logprobs": True,
        "top_logprobs": 0,
        **ALWAYS,
    }


def test_engines_get_fields_of_their_own() -> None:
    extra = {"lora": [{"id": 0, "scale": 0.0}], "cache_prompt": False, "return_token_ids": True}
    body = json.loads(Asked("m", 2, token_ids=(1,), extra=extra).body())
    assert {key: body[key] for key in extra} == extra


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "one prompt: token_ids, text or messages; it has none"),
        ({"text": "a", "token_ids": (1,)}, "it has token_ids, text"),
        ({"token_ids": ()}, r"prompt is empty \(token_ids\)"),
        ({"text": ""}, r"prompt is empty \(text\)"),
        ({"text": "a", "max_tokens": 0}, "asks for 0 tokens; at least 1"),
        ({"text": "a", "extra": {"stream": False, "seed": 1}}, "seed, stream is set by raybench itself"),
        ({"text": "a", "extra": {"n": 2}}, "with n requests do other work"),
    ],
)
def test_what_does_not_hold_together_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Asked(**{"model": "m", "max_tokens": 1, **given})


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"x"])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"^a request cannot be told as JSON: "):
        Asked("m", 1, text="a", extra={"x": value}).body()
