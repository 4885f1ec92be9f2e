"""What a person reads of why something is slower: of made runs whose counts and times are known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from generated_runs import PLAN, even_cost, generated, load_generated
from raybench.analysis.tables import Tables
from raybench.machine.calibration import Calibration
from raybench.plan.plan import Configuration
from raybench.report.attribution import attribution_lines

KNOWN = Calibration(10, 0.001, 5000, 5000, 5000, None, None, 1e15, 1e15, 1e9, None)
NOTHING = dict.fromkeys(("flops", "attention_flops", "activation_bytes", "product_bytes", "views", "products"), 0)
NOTHING |= {"attention": 0, "generated": 0}


def counts(c: Configuration) -> list[dict[str, Any]]:
    """A separate adapter adds 1 % to the bytes, 20 % to the operations and 30 % to the instructions of each step."""
    bytes_, operations, instructions = (101, 120, 130) if "lora" in c.strategy else (100, 100, 100)
    done = {"weight_bytes": 10_000 * bytes_, "operations": 5 * operations, "instructions": 1000 * instructions}
    return [{"step": step, "tokens": 5} | NOTHING | done for step in ("prefill", "decode")]


def made(folder: Path, text: str = PLAN, **others: Any) -> Tables:
    plan = load_generated(folder, text)
    return Tables(generated(plan, folder, even_cost, **{"calibration": dataclasses.asdict(KNOWN), **others}))


def test_what_is_slower_is_told_with_what_it_does_more_of_and_where_its_time_goes(tmp_path: Path) -> None:
    lines = attribution_lines(made(tmp_path, counts=counts))
    # Each of four steps: 100 operations of 5 us, 30,000 instructions of 10 ns, 10,000 bytes at 1 GB a second.
    assert lines[0] == (
        "LoRA Separate against Full FT: +1.0 % bytes, +20.0 % operations, +30.0 % Python instructions; "
        "that predicts +3.20 ms of dispatch and +0.04 ms of computing, where +3.80 ms were measured."
    )
    # Full: 4 x (500 x 5 us + 100,000 x 10 ns + 1 ms) are 18 ms, and 16 were measured; with an adapter 21.24.
    assert lines[-1] == (
        "What is counted and how fast the device is predict the mean times of 7 configurations with a median error of "
        "12.5 %, at most 32.5 %: raybench sql, FROM predictions."
    )


def test_of_a_plan_with_claims_only_those_are_told(tmp_path: Path) -> None:
    claim = '\n[[claims]]\nstrategy = "multi_lora"\nreference = "lora_separate"\n'
    lines = attribution_lines(made(tmp_path, PLAN + claim, counts=counts))
    assert [line.partition(":")[0] for line in lines[:-1]] == ["Multi-adapter (2) against LoRA Separate"]


def test_what_is_not_predicted_is_counted(tmp_path: Path) -> None:
    def some(c: Configuration) -> list[dict[str, Any]]:
        lacking = {"instructions": None, "not_counted": "instructions: no"} if c.name == "multi" else {}
        return [row | lacking for row in counts(c)]

    lines = attribution_lines(made(tmp_path, counts=some))
    assert "of 6 configurations" in lines[-2]
    assert lines[-1] == "Of 1 configuration nothing is predicted: not_predicted says why."
    assert not any(line.startswith("Multi-adapter") for line in lines)


def test_without_a_gpus_kernels_nothing_is_predicted_and_nothing_is_told(tmp_path: Path) -> None:
    def some(c: Configuration) -> list[dict[str, Any]]:
        kernels = {"kernels": None, "not_counted": "kernels: none"} if c.name == "multi" else {"kernels": 500}
        return [row | kernels for row in counts(c)]

    gpu = dataclasses.asdict(dataclasses.replace(KNOWN, kernel_ns=1000.0))
    lines = attribution_lines(made(tmp_path, counts=some, calibration=gpu))
    assert lines[0].startswith("LoRA Separate against Full FT: ")
    assert "of 6 configurations" in lines[-2]
    assert lines[-1] == "Of 1 configuration nothing is predicted: not_predicted says why."
    assert not any(line.startswith("Multi-adapter") for line in lines)


def test_a_run_in_which_nothing_was_counted_has_no_lines(tmp_path: Path) -> None:
    assert attribution_lines(made(tmp_path)) == []
