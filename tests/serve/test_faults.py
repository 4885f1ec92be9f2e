"""What servers say of errors is told in one line that can do nothing."""

from __future__ import annotations

import json

import pytest

from raybench.serve.faults import message_of, one_line, status_fault, told


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "no model x", "type": "NotFoundError", "code": 404}}, "no model x"),
        ({"error": "Unauthorized"}, "Unauthorized"),
        ({"object": "error", "message": "too long", "code": 400}, "too long"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"error": {"detail": "d"}}, "d"),
        ({"error": {"code": 5}}, '{"code": 5}'),
        ({"error": [1]}, "[1]"),
        ({"detail": [{"loc": ["body"]}]}, '[{"loc": ["body"]}]'),
        ({"a": 1}, '{"a": 1}'),
        ([1], "[1]"),
    ],
)
def test_the_message_is_found(body: object, said: str) -> None:
    assert told(json.dumps(body).encode()) == said


@pytest.mark.parametrize("found", [{}, {"error": None}, {"error": {}}, {"choices": []}, [], "error", None, 1])
def test_what_tells_no_error_is_none(found: object) -> None:
    assert message_of(found) is None


def test_foreign_text_is_one_printable_line() -> None:
    assert told(b"a\x1b[31m\r\nb\t\xff\xe2\x80\xae c\n") == "a [31m b \ufffd c"
    assert one_line("x" * 1000) == "x" * 400 + "..."
    assert told(b"[" * 100_000) == "[" * 400 + "..."


def test_refusals_are_told_as_such() -> None:
    assert status_fault(429, b"slow down") == "the server refuses: 429: slow down"
    assert status_fault(503, b"") == "the server refuses: 503"
    assert status_fault(500, b'{"detail": "x"}') == "the server answered with an error: 500: x"
