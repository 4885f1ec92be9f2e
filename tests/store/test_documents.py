"""JSON of a run, which anyone may have written."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from raybench.schemas import SCHEMA_VERSION
from raybench.store.documents import encode_json, parse_json
from raybench.store.storage import StoreError

WHERE = Path("run.json")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "Expecting value"),
        (b"[]", "not an object"),
        (b"\xff", "can't decode byte"),
        (b"[" * 100_000, "recursion"),
        (b'{"schema_version": 9, "a": ' + b"[" * 21 + b"]" * 21 + b"}", "nested deeper than 20 levels"),
        (b'{"schema_version": 9, "a": 9223372036854775808}', "a whole number of more than 64 bits"),
        (b'{"schema_version": 9, "a": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
        (b'{"schema_version": 9, "a": 1e999}', "1e999 is not a finite number"),
        (b'{"schema_version": 9, "a": -Infinity}', "-Infinity is not a finite number"),
        (rb'{"schema_version": 9, "a": "\ud800"}', "surrogates not allowed"),
        (rb'{"schema_version": 9, "\udfff": 1}', "surrogates not allowed"),
        (b'{"schema_version": 9, "a": {"b": 1, "b": 2}}', "'b' is there twice"),
    ],
)
def test_what_raybench_never_writes_is_damage(data: bytes, message: str) -> None:
    with pytest.raises(StoreError, match=rf"^run\.json: damaged JSON \(.*{message}.*restore it from a copy") as raised:
        parse_json(data, WHERE)
    assert "\n" not in str(raised.value)


OTHERS = [
    "1",
    str(SCHEMA_VERSION + 1),
    f"{SCHEMA_VERSION}.0",
    "true",
    f'"{SCHEMA_VERSION}"',
    "null",
    f"[{SCHEMA_VERSION}]",
]


@pytest.mark.parametrize("version", OTHERS)
def test_another_schema_version_is_refused(version: str) -> None:
    with pytest.raises(
        StoreError,
        match="and this raybench reads 2, 3, 4, 5, 6, 7, 8, 9 and 10; read it with the raybench that wrote it",
    ):
        parse_json(f'{{"schema_version": {version}}}'.encode(), WHERE)


def test_what_is_written_is_read_back() -> None:
    document = {"schema_version": 9, "a": [1.5, None, True, "ä\x00"], "b": {"c": [[2**63 - 1, -(2**63)]]}}
    assert parse_json(encode_json(document), WHERE) == document
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_json({"a": math.nan})
