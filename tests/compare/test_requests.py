"""Which requests of two runs are compared."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from compare.compared_runs import MS, Edit, Make, close, of, opened, raw_levels
from raybench.analysis.tables import Tables
from raybench.compare.pairing import measured
from raybench.compare.requests import compared_requests

LORA = "lora_mrpc_seed42"
OTHERS = ["fullft_mrpc_seed42", "lora_merged_mrpc_seed42"]


def showing(root: Path, timed: str) -> Tables:
    """The run with another view of its samples: of rounds of four requests."""
    tables = Tables(root)
    tables.connection.execute(f"CREATE OR REPLACE TABLE shown AS {timed}")
    tables.connection.execute("CREATE OR REPLACE VIEW timed AS FROM shown")
    return tables


def test_of_equal_rounds_all_is_compared(make: Make) -> None:
    a, b = (opened(make(noise=0.3, seed=seed)) for seed in (1, 2))
    assert compared_requests(a, b, [LORA, *OTHERS]) == ((None, None), True, [])


def test_of_a_round_that_differs_requests_are_looked_at_one_by_one(make: Make) -> None:
    root = make(noise=0.3, seed=1)
    a, b = opened(root), showing(root, f"FROM timed WHERE NOT (configuration = '{LORA}' AND request = 5)")
    parts, matched, notes = compared_requests(a, b, [LORA, *OTHERS])
    assert matched
    assert notes == [f"Compared on the requests that both runs served, not on all: {LORA}."]
    assert parts[0] == parts[1] is not None
    assert parts[0].rounds.to_pylist() == [
        {"configuration": name, "round": r}
        for name in sorted([LORA, *OTHERS])
        for r in range(3)
        if (name, r) != (LORA, 1)
    ]
    assert sorted(parts[0].singly["request"].to_pylist()) == [4, 6, 7]
    assert parts[0].singly["configuration"].unique().to_pylist() == [LORA]
    found = measured(a, parts[0])
    levels = [visit.log for _, visit in sorted(found.absolute[LORA, "end_to_end"].items())]
    assert close(levels, raw_levels(root, LORA, "mrpc_seed42", lambda request: request != 5))
    visits = found.relative[(LORA, "full_ft"), "end_to_end"]
    ours, theirs = (
        raw_levels(root, name, "mrpc_seed42", lambda request: request != 5) for name in (LORA, "fullft_mrpc_seed42")
    )
    assert [visits[r].log for r in range(3)] == pytest.approx(ours - theirs, rel=1e-9)
    whole = measured(a, None)
    assert whole.relative[(LORA, "full_ft"), "end_to_end"][0] == visits[0]
    assert whole.relative[(LORA, "full_ft"), "end_to_end"][1] != visits[1]


def test_without_a_request_in_common_all_are_compared(make: Make) -> None:
    root = make(noise=0.3, seed=1)
    other = f"CASE WHEN configuration = '{LORA}' THEN request + 1000 ELSE request END"
    b = showing(root, f"SELECT * REPLACE ({other} AS request) FROM timed")
    parts, matched, notes = compared_requests(opened(root), b, [LORA, *OTHERS])
    assert (matched, notes) == (True, [f"No request in common, so all of each run are compared: {LORA}."])
    assert parts[0] == parts[1] is not None
    assert parts[0].rounds.num_rows == 9
    assert parts[0].singly.num_rows == 0


def test_of_other_workloads_all_requests_are_compared(make: Make, edit: Edit) -> None:
    found = of(make(), edit(make(), lambda d: d["workload"].update(seed=7)))
    assert found.notes == (
        "The workloads differ, so no request is the same in both: all requests of each run are compared.",
    )


def test_only_requests_that_both_served_are_compared(make: Make) -> None:
    a, b = make(noise=0.3, seed=1), make(noise=0.05, seed=6, rounds=4, requests=4)
    found = of(a, b)
    row = next(r for r in found.configurations if r.name == "lora_mrpc_seed42")
    x = raw_levels(a, "lora_mrpc_seed42", "mrpc_seed42")
    y = raw_levels(b, "lora_mrpc_seed42", "mrpc_seed42", lambda request: request < 12)
    assert len(y) == 3
    assert close([row.absolute.estimate.ratio], math.exp(np.mean(y - x)))
    assert (row.absolute.method, row.absolute.estimate.n) == ("paired", 3)
    assert "plan.rounds: 3 in A, 4 in B" in found.differences
    assert found.notes[0].startswith("Compared on the requests that both runs served, not on all: fullft_mrpc_seed42, ")


def test_where_whole_rounds_are_compared_what_is_kept_is_what_they_give_by_themselves(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = (opened(make(noise=0.3, seed=seed, rounds=rounds, requests=4)) for seed, rounds in ((1, 3), (6, 4)))
    names = [c.name for c in a.description.configurations]
    parts = compared_requests(a, b, names).parts
    assert [part and part.whole_rounds() for part in parts] == [{0, 1, 2}, {0, 1, 2}]
    kept = [measured(run, part) for run, part in zip((a, b), parts, strict=True)]
    monkeypatch.setattr("raybench.compare.requests.Part.whole_rounds", lambda self: None)
    assert [measured(run, part) for run, part in zip((a, b), parts, strict=True)] == kept
    assert {len(visits) for visits in kept[1].relative.values()} == {3}


def test_of_rounds_of_other_lengths_all_requests_are_compared_unpaired(make: Make) -> None:
    """What both served would be the first few visits of the longer rounds: there are more."""
    a, b = make(noise=0.3, seed=1), make(noise=0.05, seed=6, requests=6)
    found = of(a, b)
    row = next(r for r in found.configurations if r.name == "lora_mrpc_seed42")
    x, y = (raw_levels(root, "lora_mrpc_seed42", "mrpc_seed42") for root in (a, b))
    assert (len(x), len(y)) == (3, 3)
    assert row.absolute.method == "welch"
    assert close([row.absolute.estimate.p_value()], scipy.stats.ttest_ind(y, x, equal_var=False).pvalue)
    assert close([row.a_ms, row.b_ms], [np.exp(levels.mean()) / MS for levels in (x, y)])
    assert found.notes == (
        "A round is 4 requests of each configuration in A, 6 in B, so rounds are not of the same ones: all requests of "
        "each run are compared.",
    )


@pytest.mark.parametrize(
    ("where", "gone"),
    [("1", ""), ("(request = 5)::INTEGER", ""), ("(request = 5)::INTEGER", " WHERE request <> 6")],
    ids=["all", "one", "one of a round that lacks another"],
)
def test_texts_that_changed_behind_one_description_are_not_matched(make: Make, where: str, gone: str) -> None:
    a, b = make(noise=0.3, seed=1), make(noise=0.3, seed=2)
    longer = showing(b, f"SELECT * REPLACE (tokens + {where} AS tokens) FROM timed{gone}")
    _, matched, notes = compared_requests(opened(a), longer, [LORA])
    assert not matched
    assert notes == ["Requests of one number differ in length: all requests of each run are compared."]
