"""What comparing two runs answers: which change counts, which rows have a verdict, and all of it as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raybench.changes import Change
from raybench.run_comparison import LeftOut, Row, RunComparison
from raybench.stats import Estimate, Verdict


def change(verdict: Verdict, log_ratio: float = 0.0) -> Change:
    return Change(Estimate(log_ratio, 0.01, 2.0, 3), "paired", 0.5, 0.25, verdict, None)


DRIFTED = Row("drifted", "full FT", 4.0, 5.0, change("slower"), "full_ft", change("equivalent"))
ALONE = Row("alone", "multi-LoRA", 4.0, 3.0, change("faster"), None, None)
FOUND = RunComparison(Path("a"), Path("b"), 0.02, ("x",), ("y",), (LeftOut("gone", "not in B"),), (DRIFTED, ALONE))


def test_the_relative_change_counts_where_there_is_one_unless_the_absolute_is_asked_for() -> None:
    assert DRIFTED.judged("relative") is DRIFTED.relative
    assert DRIFTED.judged("absolute") is DRIFTED.absolute
    assert ALONE.judged("relative") is ALONE.judged("absolute") is ALONE.absolute


def test_rows_are_found_by_the_change_that_counts() -> None:
    assert FOUND.with_verdict(["slower", "faster"]) == [ALONE]
    assert FOUND.with_verdict(["slower", "faster"], "absolute") == [DRIFTED, ALONE]
    assert FOUND.with_verdict([]) == []


def test_everything_is_json() -> None:
    found = json.loads(json.dumps(FOUND.as_json(), allow_nan=False))
    assert found["left_out"] == [{"configuration": "gone", "reason": "not in B"}]
    assert [(row["configuration"], row["absolute"]["verdict"], row["relative"]) for row in found["rows"]] == [
        ("drifted", "slower", FOUND.rows[0].relative and FOUND.rows[0].relative.as_json()),
        ("alone", "faster", None),
    ]
    assert found["rows"][0]["absolute"]["ratio"] == pytest.approx(1.0)
