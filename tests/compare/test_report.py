"""What a person reads of two runs compared."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

from compare.compared_runs import USUAL, Edit, Make, of
from raybench.analysis.stats import Estimate
from raybench.compare.changes import Change
from raybench.compare.comparison import RunComparison
from raybench.compare.report import change_interval, show
from raybench.report import Screen


def text(found: RunComparison, by: Any = "relative", each: bool = False) -> str:
    out = io.StringIO()
    show(found, Screen(file=out, width=200), by, each)
    return out.getvalue()


def test_all_slower_alike_is_said_to_be_the_machine(make: Make) -> None:
    found = of(make(), make({name: 1.1 * ms for name, ms in USUAL.items()}))
    shown = text(found)
    assert "All are slower in B, and alike: the machine, or something that all share, changed speed." in shown
    assert "Equivalent within ±2 %, relative to Full FT: LoRA Separate, LoRA Merged, Multi-adapter (2)." in shown
    absolute = text(found, "absolute")
    assert "Full FT is slower in B, absolute: +10.0 % [+10.0 %, +10.0 %], p after Holm" in absolute
    assert "All are slower" not in absolute


def test_a_slower_strategy_gets_a_sentence(make: Make) -> None:
    found = of(make(), make({"lora_separate": 5.5}))
    sentence = "is slower in B, relative to Full FT: +10.0 % [+10.0 %, +10.0 %], p after Holm"
    shown = text(found)
    assert f"LoRA Separate {sentence}" in shown
    assert f"lora_mrpc_seed42 {sentence}" not in shown
    assert f"lora_mrpc_seed42 {sentence}" in text(found, each=True)
    assert "the absolute column tells which" in shown


def test_a_configuration_that_an_average_hides_is_named(make: Make, edit: Edit) -> None:
    found = of(make(), make({"lora_merged": 4.5}))
    hidden = dataclasses.replace(found, deployments=of(make(), edit(make(), lambda d: None)).deployments)
    assert (
        "Single configurations that are slower, though their deployment on average is not: "
        "lora_merged_mrpc_seed42, lora_merged_sst2_seed42. --each fails on such." in text(hidden)
    )
    assert "Single configurations" not in text(found)


def test_noise_says_how_many_rounds_more(make: Make) -> None:
    found = of(make(noise=0.3, seed=1), make(noise=0.3, seed=2))
    shown = text(found)
    for row in found.deployments:
        if row.relative is not None:
            more = row.relative.more_rounds
            assert more is not None
            by = "not to be settled by more rounds" if more > 100 else f"about {more:,} more rounds of each run"
            assert f"{row.name} is inconclusive, relative to Full FT: {by}" in shown


def test_rounds_that_nobody_would_wait_for_are_not_asked_for(make: Make) -> None:
    found = of(make(noise=0.3, seed=1), make(noise=0.3, seed=2))
    far = [
        dataclasses.replace(row, relative=row.relative and dataclasses.replace(row.relative, more_rounds=8546))
        for row in found.deployments
    ]
    shown = text(dataclasses.replace(found, deployments=tuple(far)))
    assert "is inconclusive, relative to Full FT: not to be settled by more rounds on this machine: a wider" in shown
    assert "8,546" not in shown


def test_what_differs_is_printed_before_the_table(make: Make, edit: Edit) -> None:
    def other(d: dict[str, Any]) -> None:
        d["plan"]["margin"] = 0.05
        d["model"]["name"] = "macro"

    found = of(make(), edit(make(), other))
    assert found.differences == ("plan.margin: 0.02 in A, 0.05 in B", "model.name: 'micro' in A, 'macro' in B")
    shown = text(found)
    places = [shown.index(line) for line in found.differences]
    assert places == sorted(places)
    assert places[-1] < shown.index("B against A")


def test_what_is_left_out_is_named_with_what_to_do(incomplete_pair: tuple[Path, Path], make: Make, edit: Edit) -> None:
    shown = text(of(*incomplete_pair))
    assert "Left out: lora_sst2_seed42: incomplete in B: 0 of 3 rounds; error: RuntimeError: device on fire" in shown
    assert "Finish the incomplete run by --resume" in shown  # what has another name in A was not measured yet
    failed = of(make(), incomplete_pair[1])
    assert [one.ended for one in failed.left_out] == [True, True]
    assert "--resume" not in text(failed)


def test_one_visit_each_decides_nothing(make: Make) -> None:
    a, b = make(design="independent", rounds=1), make({"lora_separate": 50.0}, design="independent", rounds=1)
    shown = text(of(a, b))
    assert "+900.0 % [unknown]" in shown
    assert (
        "Nothing can be judged: one visit in a run says nothing of how far visits differ; run more --rounds." in shown
    )


def test_an_interval_that_says_nothing_is_said_to() -> None:
    change = Change(Estimate(0.0, 1.0, 1.0, 2), "welch", 1.0, 1.0, 0.5, 1.0, "inconclusive", None)
    assert change_interval(change) == "+0.0 % [no usable interval: visits differ too much]"
    assert change.as_json()["high"] > 1000
