"""What comparing two runs answers: which change counts, which rows have a verdict, and all of it as JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from raybench.analysis.stats import Estimate, Verdict
from raybench.compare.changes import Change
from raybench.compare.comparison import LeftOut, Row, RunComparison


def change(verdict: Verdict, log_ratio: float = 0.0, error: float = 0.01) -> Change:
    estimate = Estimate(log_ratio, error, 2.0, 3, unknown="one visit" if math.isinf(error) else None)
    return Change(estimate, "paired", 4e6, 5e6, 0.5, 0.25, verdict, None)


BASE = Row("Full FT", "end_to_end", "Full FT", ("full",), change("slower"), None)
DRIFTED = Row("Separate", "end_to_end", "Separate", ("lora",), change("slower"), change("equivalent"))
ALONE = Row("lora", "end_to_end", "Separate", ("lora",), change("faster"), change("faster"))
GONE = (LeftOut("gone", "not in B", True, False), LeftOut("new", "not in A", False, False))
FOUND = RunComparison(Path("a"), Path("b"), 0.02, "full_ft", "Full FT", ("x",), ("y",), GONE, (BASE, DRIFTED), (ALONE,))


def test_rows_are_found_by_the_change_that_counts() -> None:
    assert FOUND.with_verdict(["slower", "faster"]) == []
    assert FOUND.with_verdict(["equivalent"]) == [DRIFTED]
    assert FOUND.with_verdict(["slower", "faster"], "absolute") == [BASE, DRIFTED]
    assert FOUND.with_verdict(["slower", "faster"], each=True) == [ALONE]
    assert FOUND.with_verdict([]) == []


def test_what_is_lost_is_what_was_complete_before() -> None:
    assert [one.configuration for one in FOUND.lost] == ["gone"]


def test_nothing_is_decided_by_one_visit_each() -> None:
    unknown = change("inconclusive", error=math.inf)
    row = Row("Separate", "end_to_end", "Separate", ("lora",), unknown, unknown)
    found = RunComparison(Path("a"), Path("b"), 0.02, "full_ft", "Full FT", (), (), (), (BASE, row), (ALONE,))
    assert found.undecidable()
    assert found.unjudged() == [row]
    assert not found.undecidable("absolute")
    assert not found.undecidable(each=True)


def test_everything_is_json() -> None:
    found = json.loads(json.dumps(FOUND.as_json(), allow_nan=False))
    assert found["baseline"] == "full_ft"
    assert found["left_out"][0] == {"configuration": "gone", "reason": "not in B", "lost": True, "ended": False}
    assert [(row["name"], row["absolute"]["verdict"], row["relative"]) for row in found["deployments"]] == [
        ("Full FT", "slower", None),
        ("Separate", "slower", DRIFTED.relative and DRIFTED.relative.as_json()),
    ]
    assert found["configurations"][0]["absolute"]["ratio"] == pytest.approx(1.0)
    assert [found["deployments"][0][k] for k in ("a_ms", "b_ms", "a_to_baseline")] == [4.0, 5.0, None]
    assert [found["deployments"][1][k] for k in ("a_to_baseline", "b_to_baseline")] == [4e6, 5e6]
