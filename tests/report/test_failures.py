"""Failures are said once and in brief, without the names of this program's files."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from raybench.records import RaybenchError
from raybench.report.failures import (
    BRIEF,
    all_of_it,
    brief_failure,
    failed_headline,
    incomplete_lines,
    told_failure,
)

LOG = "its log ends: " + "INFO 11-29 request served " * 60


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ("error: RuntimeError: no luck (visit.py:51)", "error: RuntimeError: no luck"),
        ("RaybenchError: served: no answer (engine_server.py:51)", "served: no answer"),
        ("error: InputError: sales: no adapter (weights.py:200)", "error: sales: no adapter"),
        ("crashed: ServerError: server of merged: died", "crashed: server of merged: died"),
        ("gate: logits [0.1] instead of [0.3]", "gate: logits [0.1] instead of [0.3]"),
        ("SyntaxError: (x.py:3) is no place at the end", "SyntaxError: (x.py:3) is no place at the end"),
    ],
)
def test_where_it_was_raised_is_not_told(stored: str, told: str) -> None:
    assert told_failure(stored) == told
    assert brief_failure(stored) == told


def test_a_long_message_is_cut_between_words() -> None:
    found = brief_failure(f"error: RaybenchError: served: HTTP 500; {LOG} (engine_server.py:51)")
    assert found.startswith("error: served: HTTP 500; its log ends: INFO ")
    assert found.endswith((" served ...", " request ...", " INFO ...", " 11-29 ..."))
    assert BRIEF - 12 < len(found) <= BRIEF
    assert brief_failure("x" * 300, 120) == "x" * 116 + " ..."
    assert brief_failure("x" * 200) == "x" * 200
    assert brief_failure("first\nsecond") == "first second"


def test_secrets_of_uris_are_not_shown() -> None:
    assert brief_failure("cannot read s3://KEY:secret@bucket/x") == "cannot read s3://...@bucket/x"


def row(name: str, done: int, failure: str | None) -> dict[str, Any]:
    return {
        "configuration": name,
        "rounds_done": done,
        "rounds_planned": 2,
        "complete": done == 2,
        "failure": failure,
    }


def test_what_is_alike_is_one_line() -> None:
    why = "error: RuntimeError: no luck (visit.py:51)"
    rows = [*(row(name, 0, why) for name in "abcde"), row("f", 1, None), row("g", 1, why)]
    assert incomplete_lines(rows) == [
        "a, b, c and 2 more: 0 of 2 rounds; error: RuntimeError: no luck",
        "f: 1 of 2 rounds; not measured yet",
        "g: 1 of 2 rounds; error: RuntimeError: no luck",
    ]


def test_only_what_a_failure_ended_has_failed() -> None:
    assert failed_headline([row("came through", 2, "killed: signal SIGKILL"), row("not yet", 1, None)]) is None
    rows = [row("a", 2, None), row("b", 0, "gate: wrong")]
    assert failed_headline(rows) == "1 of 2 configurations failed; why is said below."


def test_the_command_for_all_of_it_can_be_pasted() -> None:
    assert all_of_it(Path("my runs/a")) == "All of it: raybench sql 'my runs/a' 'FROM failures'"


def _is_ours(one: type[RaybenchError]) -> bool:
    return one.__module__.startswith("raybench.")


def test_every_exception_of_raybench_is_a_message_and_nothing_else() -> None:
    def kinds(one: type[RaybenchError]) -> set[str]:
        return {one.__name__}.union(*map(kinds, filter(_is_ours, one.__subclasses__())))

    for room in ("deploy.gate", "serve.server_errors", "store.storage", "model.hub"):
        importlib.import_module(f"raybench.{room}")
    own = {name for name in kinds(RaybenchError) if name != "OutputError"}  # of what is printed, never of a visit
    assert {"GateError", "ServerError", "StoreError", "NoSuchFileError"} < own
    assert {told_failure(f"{name}: why") for name in own} == {"why"}
