"""An entry is parsed at once where nothing is wrong with it, and only then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raybench.store.documents import encode_json, parse_json, parsed_at_once, validated
from raybench.store.manifest import Entry
from raybench.store.storage import StoreError

WHERE = Path("manifest/00000002.json")
FILE = {"table": "loads", "path": "loads/00000002-0123abcd.parquet", "sha256": "0" * 64, "rows": 3, "bytes": 70}
VISIT = {"visit": "blöck/r00", "block": "blöck", "round": 0, "attempt": 0}
ENTRY = {"sequence": 2, "schema_version": 9, "committed_at": "2026-11-28T01:00:00Z", "files": [FILE], "visits": [VISIT]}
SOUND = encode_json(ENTRY)


def test_what_is_sound_is_what_it_was() -> None:
    without_attempt = ENTRY | {"visits": [{k: v for k, v in VISIT.items() if k != "attempt"}]}
    for data in (SOUND, json.dumps(ENTRY).encode(), encode_json(without_attempt), encode_json(ENTRY | {"files": []})):
        found = parsed_at_once(Entry, data)
        assert found is not None
        assert found == validated(Entry, parse_json(data, WHERE), WHERE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"rows": 3', '"rows": 9223372036854775808'),
        ('"rows": 3', '"rows": 3, "rows": 3'),
        ('"rows": 3', '"rows": 3, "ro\\u0077s": 3'),
        ('"rows": 3', '"rows": 3.0'),
        ('"rows": 3', '"rows": true'),
        ('"rows": 3', '"rows": NaN'),
        ('"rows": 3', '"rows": 1e999'),
        ('"rows": 3', '"rows": ' + "9" * 5000),
        ('"round": 0', '"round": 2147483648'),
        ('"block": "blöck"', '"block": "\\ud800"'),
        ('"block": "blöck"', '"block": ' + "[" * 30 + "]" * 30),
        ('"block": "blöck"', '"block": ' + "[" * 100_000),
        ('"sequence": 2', '"sequence": 2, "sequence": 2'),
        ('"sequence": 2', '"sequence": 9223372036854775808'),
        ('"sequence": 2', '"sequence": 0'),
        ('"files": [', '"more": 1, "files": ['),
        ('"2026-11-28T01:00:00Z"', '"2026-11-28T01:00:00"'),
        ('"2026-11-28T01:00:00Z"', "1"),
        ('"2026-11-28T01:00:00Z"', "1e400"),
        ("loads/00000002", "loads/00000003"),
        ("0123abcd.parquet", "../../x.parquet"),
    ],
)
def test_what_is_not_is_left_to_the_one_that_says_why(old: str, new: str) -> None:
    data = SOUND.decode().replace(old, new, 1).encode()
    assert data != SOUND
    assert parsed_at_once(Entry, data) is None
    with pytest.raises(StoreError, match=r"^manifest/00000002\.json: "):
        validated(Entry, parse_json(data, WHERE), WHERE)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_other_encodings_of_json_are_read_as_they_were(encoding: str) -> None:
    data = SOUND.decode().encode(encoding)
    assert parsed_at_once(Entry, data) is None
    assert validated(Entry, parse_json(data, WHERE), WHERE) == parsed_at_once(Entry, SOUND)
