"""What of two runs is compared, and what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compare.compared_runs import Edit, Make, of, opened
from raybench.compare.pairing import Parts, common_parts


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
