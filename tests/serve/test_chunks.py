"""What an event says is taken where it is of its form, and told where it is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.serve.chunks import Chunk, Usage, chunk_of
from raybench.serve.faults import AnswerFault


def read(content: Any) -> Chunk:
    return chunk_of(json.dumps(content).encode())


def of(**choice: Any) -> Chunk:
    return read({"choices": [{"index": 0, **choice}]})


def test_a_completion() -> None:
    chunk = of(text=" a", token_ids=[5, 6], logprobs={"token_logprobs": [-0.5, None]}, finish_reason=None)
    assert chunk == Chunk(" a", (5, 6), (-0.5, None))
    assert (chunk.carries_tokens, chunk.tokens) == (True, 2)


def test_a_chat() -> None:
    logprobs = {"content": [{"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": []}]}
    chunk = of(delta={"content": "a"}, logprobs=logprobs, finish_reason="stop")
    assert chunk == Chunk("a", None, (-1.0,), "stop")
    assert chunk.tokens == 1
    assert of(delta={"role": "assistant", "content": ""}) == Chunk()
    assert of(delta={"content": None}).carries_tokens is False
    assert of(delta={"reasoning_content": "why"}).text == "why"
    assert of(delta={"reasoning": "why", "content": "!"}).text == "why!"


def test_what_carries_tokens() -> None:
    assert of(text="a").tokens is None
    assert of(text="", token_ids=[3]).carries_tokens
    assert of(text="", logprobs={"content": [{"logprob": -1}]}).carries_tokens
    assert not of(text="", token_ids=[], logprobs={"content": []}, finish_reason="length").carries_tokens
    assert not of(text="", logprobs={"content": None}).carries_tokens
    assert not read({"choices": []}).carries_tokens
    assert not read({}).carries_tokens


def test_counts_come_beside_choices_or_alone() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}
    assert read({"choices": [], "usage": usage}).usage == Usage(3, 2, 1)
    assert read({"choices": [{"text": ""}], "usage": {"completion_tokens": 2}}).usage == Usage(None, 2, None)
    assert read({"choices": [], "usage": {"prompt_tokens_details": None}}).usage == Usage(None, None, None)
    assert read({"choices": [], "usage": None}).usage is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"error": {"message": "out of\\nmemory"}}', "^the server tells an error within its answer: out of memory$"),
        (b'{"object": "error", "message": "m", "code": 1}', "^the server tells an error within its answer: m$"),
        (b'{"choices": [{"text": "\xff"}]}', "no UTF-8: invalid start byte, at byte 23 of an event$"),
        (b"{broken", r"^the server sent an event that is no JSON \(Expecting property name.*: \{broken$"),
        (b"", "that is no JSON"),
        (b"[" * 100_000, "that is no JSON"),
        (b"9" * 5000, "that is no JSON"),
        (b'{"choices": [], "usage": {"prompt_tokens": NaN}}', r"no JSON \(NaN is no number of JSON\)"),
        (b"[1]", r"^the server sent an event that is no object: \[1\]$"),
    ],
)
def test_what_is_no_event_is_told(data: bytes, said: str) -> None:
    with pytest.raises(AnswerFault, match=said):
        chunk_of(data)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"choices": {}}, "whose choices is not a list of one: {}"),
        ({"choices": [{}, {}]}, r"whose choices is not a list of one: \[{}, {}\]"),
        ({"choices": [1]}, r"whose choices\[0\] is not an object: 1"),
        ({"choices": [{"text": 1}]}, "whose text is not a text: 1"),
        ({"choices": [{"text": "\ud83d"}]}, 'whose text is not a text: "'),
        ({"choices": [{"delta": []}]}, "whose delta is not an object"),
        ({"choices": [{"delta": {"content": {}}}]}, "whose content is not a text"),
        ({"choices": [{"finish_reason": 1}]}, "whose finish_reason is not a text"),
        ({"choices": [{"token_ids": 1}]}, "whose token_ids is not a list of numbers"),
        ({"choices": [{"token_ids": [True]}]}, "whose token_ids is not a list of numbers"),
        ({"choices": [{"token_ids": [-1]}]}, "whose token_ids is not a list of numbers"),
        ({"choices": [{"token_ids": [2**31]}]}, "whose token_ids is not a list of numbers"),
        ({"choices": [{"logprobs": 1}]}, "whose logprobs is not an object"),
        ({"choices": [{"logprobs": {"content": 1}}]}, "whose content is not a list"),
        ({"choices": [{"logprobs": {"content": [1]}}]}, "whose content is not a list of objects"),
        ({"choices": [{"logprobs": {"token_logprobs": ["x"]}}]}, "whose logprobs is not numbers"),
        ({"choices": [{"logprobs": {"token_logprobs": [10**400]}}]}, "whose logprobs is not numbers"),
        ({"usage": 1}, "whose usage is not an object"),
        ({"usage": {"prompt_tokens": 1.5}}, "whose prompt_tokens is not a number of tokens: 1.5"),
        ({"usage": {"completion_tokens": -1}}, "whose completion_tokens is not a number of tokens"),
        ({"usage": {"prompt_tokens_details": 1}}, "whose prompt_tokens_details is not an object"),
        ({"usage": {"prompt_tokens_details": {"cached_tokens": "1"}}}, "whose cached_tokens is not a number"),
    ],
)
def test_what_is_of_another_form_is_told(content: Any, said: str) -> None:
    with pytest.raises(AnswerFault, match=f"^the server sent an event {said}"):
        read(content)


def test_infinities_are_no_log_probabilities() -> None:
    with pytest.raises(AnswerFault, match="whose logprobs is not numbers"):
        chunk_of(b'{"choices": [{"logprobs": {"token_logprobs": [-1e999]}}]}')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "usage", "error", "text", "delta", "content", "logprobs", "token_ids", "prompt_tokens"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_json_raises_anything_else(content: Any) -> None:
    found: Chunk | str
    try:
        found = read(content)
    except AnswerFault as fault:
        found = str(fault)
    assert isinstance(found, Chunk) or found.isprintable()


@given(st.binary(max_size=40))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(AnswerFault):
        chunk_of(b"\x00" + data)
