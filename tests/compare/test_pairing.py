"""What of two runs is compared, and what is left out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

from compare.compared_runs import MS, Edit, Make, close, of, opened, raw_levels
from raybench.analysis.tables import Tables
from raybench.compare.pairing import Parts, common_parts, compared_requests


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


def test_texts_that_changed_behind_one_description_are_not_matched(make: Make) -> None:
    a, b = make(noise=0.3, seed=1), make(noise=0.3, seed=2)
    tables = Tables(b)
    tables.connection.execute("CREATE OR REPLACE TABLE longer AS SELECT * REPLACE (tokens + 1 AS tokens) FROM timed")
    tables.connection.execute("CREATE OR REPLACE VIEW timed AS FROM longer")
    _, matched, notes = compared_requests(opened(a), tables, ["lora_mrpc_seed42"])
    assert not matched
    assert notes == ["Requests of one number differ in length: all requests of each run are compared."]


def test_what_a_failure_ended_in_a_is_no_more_to_be_resumed(incomplete_pair: tuple[Path, Path]) -> None:
    b, a = incomplete_pair
    ended = {one.configuration: one.ended for one in of(a, b).left_out}
    assert ended == {
        "fullft_old": False,
        "fullft_mrpc_seed42": False,
        "lora_mrpc_seed42": True,
        "lora_sst2_seed42": True,
    }


def test_incomplete_configurations_are_left_out_and_named(incomplete_pair: tuple[Path, Path]) -> None:
    found = of(*incomplete_pair)
    assert [(one.configuration, one.reason.split(";")[0]) for one in found.left_out] == [
        ("fullft_old", "incomplete in A: 0 of 3 rounds"),
        ("lora_mrpc_seed42", "incomplete in B: 0 of 3 rounds"),
        ("lora_sst2_seed42", "incomplete in B: 0 of 3 rounds"),
        ("fullft_mrpc_seed42", "not in A"),
    ]
    assert "device on fire" in found.left_out[1].reason
    assert [(one.lost, one.ended) for one in found.left_out] == [
        (False, False),
        (True, True),
        (True, True),
        (False, False),
    ]
    assert {r.name: r.relative is not None for r in found.configurations} == {
        "fullft_sst2_seed42": False,
        "lora_merged_mrpc_seed42": False,
        "lora_merged_sst2_seed42": True,
        "multi_lora_2_adapters": False,
    }
    merged = next(r for r in found.deployments if r.name == "LoRA Merged")
    assert merged.configurations == ("lora_merged_mrpc_seed42", "lora_merged_sst2_seed42")
    assert merged.relative is not None
    assert merged.relative.estimate.n == 3


def test_the_baseline_must_be_whole_and_the_same_in_both(make: Make, edit: Edit) -> None:
    a = opened(make())
    names = [c.name for c in a.description.configurations]
    baseline, parts = common_parts(a, a, names)
    assert baseline == "full_ft"
    assert parts["lora_merged_sst2_seed42"] == Parts(("lora_merged_sst2_seed42", "full_ft"))
    assert parts["multi_lora_2_adapters"] == Parts(
        ("multi_lora_2_adapters", "lora_separate"),
        (("lora_mrpc_seed42", "full_ft"), ("lora_sst2_seed42", "full_ft")),
    )
    assert not {"fullft_mrpc_seed42", "fullft_sst2_seed42"} & parts.keys()
    for missing in ("lora_sst2_seed42", "fullft_sst2_seed42"):
        _, without = common_parts(a, a, [name for name in names if name != missing])
        assert "multi_lora_2_adapters" not in without  # half of a chain is none
        assert "lora_merged_mrpc_seed42" in without
        assert ("lora_merged_sst2_seed42" in without) == (missing != "fullft_sst2_seed42")

    def to_another(d: dict[str, Any]) -> None:
        for c in d["comparisons"]:
            if (c["configuration"], c["reference_strategy"]) == ("lora_merged_mrpc_seed42", "full_ft"):
                c["references"][0]["configuration"] = "fullft_sst2_seed42"

    _, changed = common_parts(a, opened(edit(make(), to_another)), names)
    assert "lora_merged_mrpc_seed42" not in changed
    assert "lora_merged_sst2_seed42" in changed
