"""What a person reads of two runs compared."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from compared_runs import USUAL, Edit, Make, of
from raybench.compare_report import show
from raybench.run_comparison import RunComparison


def text(found: RunComparison, by: Any = "relative") -> str:
    out = io.StringIO()
    show(found, Console(file=out, width=200), by)
    return out.getvalue()


def test_all_slower_alike_is_said_to_be_the_machine(make: Make) -> None:
    shown = text(of(make(), make({name: 1.1 * ms for name, ms in USUAL.items()})))
    assert "Absolute slower, though not against the reference: fullft_mrpc_seed42, " in shown
    assert "Equivalent within ±2 %, relative: fullft_mrpc_seed42, " in shown


def test_a_slower_strategy_gets_a_sentence(make: Make) -> None:
    found = of(make(), make({"lora_separate": 5.5}))
    assert "lora_mrpc_seed42 is slower in B, relative to full_ft: +10.0 % [+10.0 %, +10.0 %], p after Holm" in text(
        found
    )


def test_noise_says_how_many_rounds_more(make: Make) -> None:
    found = of(make(noise=0.3, seed=1), make(noise=0.3, seed=2))
    most = max(r.relative.more_rounds for r in found.rows if r.relative and r.relative.more_rounds)
    assert f"About {most} more rounds of each run" in text(found)


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


def test_what_is_left_out_is_named_with_what_to_do(incomplete_pair: tuple[Path, Path]) -> None:
    shown = text(of(*incomplete_pair))
    assert "Left out: lora_sst2_seed42: incomplete in B: 0 of 3 rounds; error: RuntimeError: device on fire" in shown
    assert (
        "Only the absolute change exists, no reference being complete in both runs: "
        "fullft_sst2_seed42, lora_merged_mrpc_seed42, multi_lora_2_adapters." in shown
    )
    assert "--resume" in shown


def test_an_interval_of_one_launch_each_is_unknown(make: Make) -> None:
    a, b = make(design="independent", rounds=1), make({"lora_separate": 50.0}, design="independent", rounds=1)
    assert "+900.0 % [unknown]" in text(of(a, b))
