"""Anything in every field of every JSON that is read of a run: an answer, or one line that says what is wrong."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raybench import cli

RUN = Path(__file__).parent / "analysis" / "version2" / "run"
LIVE = {
    "began_at": "2026-11-28T01:00:00+00:00",
    "updated_at": "2026-11-28T01:10:00+00:00",
    "state": "running",
    "host": "a",
    "pid": 1,
    "waiting": 2,
    "workers": [{"state": "busy", "host": "a", "device": "d", "device_name": "D", "visit": "v", "for_s": 1.5}],
    "schema_version": 10,
}
ENTRY = "manifest/00000002.json"
DOCUMENTS = {name: json.loads((RUN / name).read_text()) for name in ("run.json", ENTRY)} | {"live.json": LIVE}
ABSENT = object()
DATES = ("9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+23:59")
TEXTS = ("", "x", "a" * 101, "\x00", "\x1b[31m[/x]", "\n", "\ud800", "../../etc/passwd", *DATES)
NUMBERS = (0, -1, 1, 2**31, 2**63 - 1, -(2**63), 10**400, 1e308, 1e-320, 0.5)
ODD = (ABSENT, None, True, *NUMBERS, *TEXTS, [], {}, [1], ["x"], [None], {"x": 1})


def places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where every field is; of a list, its first and last element."""
    yield at
    keys = list(value) if isinstance(value, dict) else sorted({0, len(value) - 1}) if isinstance(value, list) else []
    for key in keys if value else []:
        yield from places(value[key], (*at, key))


def changed(document: Any, at: tuple[str | int, ...], value: Any) -> Any:
    if not at:
        return None if value is ABSENT else value
    document = copy.deepcopy(document)
    within = document
    for key in at[:-1]:
        within = within[key]
    if value is ABSENT:
        del within[at[-1]]
    else:
        within[at[-1]] = value
    return document


@st.composite
def changes(draw: st.DrawFn, name: str) -> bytes:
    at = draw(st.sampled_from(sorted(places(DOCUMENTS[name]), key=str)))
    return json.dumps(changed(DOCUMENTS[name], at, draw(st.sampled_from(ODD)))).encode()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(RUN, tmp_path_factory.mktemp("hostile") / "run"))


def answer(capsys: pytest.CaptureFixture[str], *command: str) -> int:
    """The command's exit code; an exception fails the test."""
    code = cli.main(list(command))
    said = capsys.readouterr()
    assert code in (0, 1, 2)
    if code:
        assert said.err.startswith("raybench: ")
        assert said.err.count("\n") == 1
    assert "\x1b[31m" not in said.out + said.err
    return code


quickly = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", DOCUMENTS)
@quickly
@given(data=st.data())
def test_status_answers_or_says_what_is_wrong(
    run: Path, name: str, capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    intact = (run / name).read_bytes() if name != "live.json" else json.dumps(LIVE).encode()
    (run / name).write_bytes(data.draw(changes(name)))
    try:
        answer(capsys, "status", str(run))
        answer(capsys, "status", str(run), "--json")
        assert answer(capsys, "runs", "--results", str(run.parent)) == 0
        assert answer(capsys, "runs", "--results", str(run.parent), "--json") == 0
        code = cli.main(["status", "latest", "--results", str(run.parent)])
        assert code in (0, 1, 2)
        assert "\x1b" not in "".join(capsys.readouterr())
    finally:
        (run / name).write_bytes(intact)


@settings(quickly, max_examples=15)
@given(data=st.data())
def test_tables_answer_or_say_what_is_wrong(run: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["run.json", ENTRY]))
    intact = (run / name).read_bytes()
    (run / name).write_bytes(data.draw(changes(name)))
    try:
        answer(capsys, "tables", str(run))
    finally:
        (run / name).write_bytes(intact)
