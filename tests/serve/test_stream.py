"""Events come out of a stream whole, wherever its bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.serve.faults import AnswerFault
from raybench.serve.stream import EventReader

STREAM = (
    b"\xef\xbb\xbfdata: one\n\n"
    b": a comment\n\n"
    b"event: message\nid: 7\nretry: 10\ndata:two\n\n"
    b"data: first line\ndata: second line\ndata:\n\n"
    b"data\n\n"
    b"data:  two spaces: and a colon\n\n"
    b"nonsense\n\n"
    b"data: \xff\xfe\xc3\n\n"
    b"data: [DONE]\n\n"
)
EVENTS = [
    b"one",
    b"two",
    b"first line\nsecond line\n",
    b"",
    b" two spaces: and a colon",
    b"\xff\xfe\xc3",
    b"[DONE]",
]


def read(*parts: bytes, longest_bytes: int = 1000) -> list[bytes]:
    reader = EventReader(longest_bytes)
    events = [event for part in parts for event in reader.feed(part)]
    return events + reader.close()


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_the_same_wherever_they_are_cut(newline: bytes, size: int) -> None:
    stream = STREAM.replace(b"\n", newline)
    assert read(*(stream[i : i + size] for i in range(0, len(stream), size))) == EVENTS


@given(st.lists(st.integers(0, len(STREAM) * 2), max_size=8), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_cuts(cuts: list[int], newline: bytes) -> None:
    stream = STREAM.replace(b"\n", newline)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    parts = [stream[first:end] for first, end in itertools.pairwise(places)]
    assert read(*parts) == EVENTS


@given(st.binary(max_size=60), st.integers(1, 5))
def test_bytes_of_any_kind_raise_nothing_and_mean_the_same_in_parts(stream: bytes, size: int) -> None:
    assert read(*(stream[i : i + size] for i in range(0, len(stream), size))) == read(stream)


def test_an_event_is_there_with_the_read_that_completes_it() -> None:
    reader = EventReader()
    assert reader.feed(b"data: a\n") == []
    assert reader.feed(b"\ndata: b\r\n\r") == [b"a", b"b"]  # a CR alone ends a line
    assert reader.feed(b"\ndata: c") == []
    assert reader.feed(b"") == []
    assert reader.close() == [b"c"]


def test_several_events_in_one_read() -> None:
    assert EventReader().feed(b"data: a\n\ndata: b\n\ndata: c\n\nda") == [b"a", b"b", b"c"]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n"])
def test_the_last_blank_line_may_be_missing(end: bytes) -> None:
    assert read(b"data: a\n\ndata: b" + end) == [b"a", b"b"]


@pytest.mark.parametrize(
    "parts",
    [
        [b"data: " + b"x" * 100],
        [b"data: ", b"x" * 50, b"x" * 51],
        [b"data: " + b"x" * 40 + b"\n"] * 3,
        [b": " + b"x" * 100],
    ],
    ids=["at once", "in parts", "in lines", "a comment"],
)
def test_an_event_has_a_longest_length(parts: list[bytes]) -> None:
    with pytest.raises(AnswerFault, match=r"^an event of the stream is longer than 100 bytes$"):
        read(*parts, longest_bytes=100)


def test_many_events_may_be_longer_together() -> None:
    assert read(*[b"data: " + b"x" * 90 + b"\n\n"] * 5, longest_bytes=100) == [b"x" * 90] * 5
