"""What of two runs is compared, and what is left out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

from compared_runs import MS, Edit, Make, close, of, opened, raw_levels
from raybench.run_pairing import common_references, compared_requests
from raybench.tables import Tables


def test_of_other_workloads_all_requests_are_compared(make: Make, edit: Edit) -> None:
    found = of(make(), edit(make(), lambda d: d["workload"].update(seed=7)))
    assert found.notes == (
        "The workloads differ, so no request is the same in both: all requests of each run are compared.",
    )


def test_only_requests_that_both_served_are_compared(make: Make) -> None:
    a, b = make(noise=0.3, seed=1), make(noise=0.05, seed=6, rounds=4, requests=4)
    found = of(a, b)
    row = next(r for r in found.rows if r.configuration == "lora_mrpc_seed42")
    x = raw_levels(a, "lora_mrpc_seed42", "mrpc_seed42")
    y = raw_levels(b, "lora_mrpc_seed42", "mrpc_seed42", lambda request: request < 12)
    assert len(y) == 3
    assert close([row.absolute.estimate.ratio], math.exp(np.mean(y - x)))
    assert (row.absolute.method, row.absolute.estimate.n) == ("paired", 3)
    assert "plan.rounds: 3 in A, 4 in B" in found.differences
    assert found.notes[0].startswith("Compared on the requests that both runs served, not on all: fullft_mrpc_seed42, ")


def test_the_same_requests_in_other_rounds_are_compared_unpaired(make: Make) -> None:
    a, b = make(noise=0.3, seed=1), make(noise=0.05, seed=6, requests=6)
    found = of(a, b)
    row = next(r for r in found.rows if r.configuration == "lora_mrpc_seed42")
    x = raw_levels(a, "lora_mrpc_seed42", "mrpc_seed42")
    y = raw_levels(b, "lora_mrpc_seed42", "mrpc_seed42", lambda request: request < 12)
    assert (len(x), len(y)) == (3, 2)
    assert row.absolute.method == "welch"
    assert close([row.absolute.estimate.p_value()], scipy.stats.ttest_ind(y, x, equal_var=False).pvalue)
    means = [np.exp(levels).mean() / MS for levels in (x, y)]
    assert close([row.a_ms, row.b_ms], means)


def test_texts_that_changed_behind_one_description_are_not_matched(make: Make) -> None:
    a, b = make(noise=0.3, seed=1), make(noise=0.3, seed=2)
    tables = Tables(b)
    tables.connection.execute("CREATE OR REPLACE TABLE longer AS SELECT * REPLACE (tokens + 1 AS tokens) FROM timed")
    tables.connection.execute("CREATE OR REPLACE VIEW timed AS FROM longer")
    _, matched, notes = compared_requests(opened(a), tables, ["lora_mrpc_seed42"])
    assert not matched
    assert notes == ["Requests of one number differ in length: all requests of each run are compared."]


def test_incomplete_configurations_are_left_out_and_named(incomplete_pair: tuple[Path, Path]) -> None:
    found = of(*incomplete_pair)
    assert [(name, reason.split(";")[0]) for name, reason in found.left_out] == [
        ("fullft_old", "incomplete in A: 0 of 3 rounds"),
        ("lora_mrpc_seed42", "incomplete in B: 0 of 3 rounds"),
        ("lora_sst2_seed42", "incomplete in B: 0 of 3 rounds"),
        ("fullft_mrpc_seed42", "not in A"),
    ]
    assert "device on fire" in found.left_out[1].reason
    assert {r.configuration: r.reference for r in found.rows} == {
        "fullft_sst2_seed42": None,
        "lora_merged_mrpc_seed42": None,
        "lora_merged_sst2_seed42": "full_ft",
        "multi_lora_2_adapters": None,
    }


def test_a_reference_must_be_whole_and_the_same_in_both(make: Make, edit: Edit) -> None:
    a = opened(make())
    names = [c["name"] for c in a.description["configurations"]]
    assert common_references(a, a, names)["multi_lora_2_adapters"] == (
        "lora_separate",
        ("lora_mrpc_seed42", "lora_sst2_seed42"),
    )
    without = common_references(a, a, [name for name in names if name != "lora_sst2_seed42"])
    assert "multi_lora_2_adapters" not in without  # half of its counterparts are no reference
    assert without["lora_merged_sst2_seed42"] == ("full_ft", ("fullft_sst2_seed42",))

    def to_another(d: dict[str, Any]) -> None:
        for c in d["comparisons"]:
            if (c["configuration"], c["reference_strategy"]) == ("lora_merged_mrpc_seed42", "full_ft"):
                c["references"][0]["configuration"] = "fullft_sst2_seed42"

    changed = common_references(a, opened(edit(make(), to_another)), names)
    assert changed["lora_merged_mrpc_seed42"] == ("lora_separate", ("lora_mrpc_seed42",))
    assert changed["lora_merged_sst2_seed42"][0] == "full_ft"
