"""What each further resident adapter costs: the slope that was put in, its interval over rounds, and its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from generated_runs import generated, load_generated
from raybench.analysis.growth import Slope, growth_rows, over_rounds
from raybench.analysis.tables import Tables
from raybench.model.weights import ModelSpec
from raybench.plan.plan import Configuration

SERIES = {"role": "r", "form": "stacked", "execution": "eager", "routing": "round_robin", "batch": 1, "load": None}
SERIES |= {"block": "b", "dtype": "auto", "adapter_dtype": "float32", "quantization": None, "kv_cache": "dynamic"}


def row(round_index: int, resident: int, switch: float | None, **values: Any) -> dict[str, Any]:
    unmeasured = {"request": None, "add": None, "remove": None}
    return SERIES | unmeasured | {"round": round_index, "resident": resident, "switch": switch} | values


def test_a_line_has_its_slope() -> None:
    rows = [row(r, n, 5_000.0 + r + 7 * n) for r in range(3) for n in (1, 2, 8, 64)]
    (found,) = growth_rows(rows)
    assert {key: found[key] for key in ("strategy", "measure", "rounds", "least", "most", "verdict")} == {
        "strategy": "r",
        "measure": "switch",
        "rounds": 3,
        "least": 1,
        "most": 64,
        "verdict": "grows",
    }
    assert [found[key] for key in ("ns_per_adapter", "low", "high")] == pytest.approx([7, 7, 7])
    assert [found[key] for key in ("least_us", "most_us")] == pytest.approx([5.008, 5.449])


def test_a_slope_is_that_of_least_squares_in_each_round() -> None:
    values = {1: 5.0, 2: 9.0, 8: 3.0, 64: 20.0}
    (found,) = growth_rows([row(0, n, ns) for n, ns in values.items()])
    assert found["ns_per_adapter"] == pytest.approx(stats.linregress(list(values), list(values.values())).slope)
    assert (found["low"], found["high"], found["verdict"]) == (None, None, None)


def test_the_interval_is_students_over_rounds() -> None:
    slopes = [1.0, 2.0, 4.0, 3.5]
    found = over_rounds(slopes)
    assert (found.low, found.high) == pytest.approx(
        stats.t.interval(0.95, 3, loc=sum(slopes) / 4, scale=stats.sem(slopes))
    )
    assert [Slope(0, *ends).verdict for ends in ((0.1, 2), (-2, -0.1), (-1, 1), (None, None))] == [
        "grows",
        "shrinks",
        "flat",
        None,
    ]


def test_a_round_in_which_one_is_missing_does_not_count_and_series_are_apart() -> None:
    whole = [row(r, n, 10.0 * n) for r in range(2) for n in (1, 2, 4)]
    (found,) = growth_rows([*whole, row(2, 1, 1.0), row(2, 2, 99.0)])
    assert (found["rounds"], found["ns_per_adapter"]) == (2, pytest.approx(10))
    other = [{**one, "form": "peft", "switch": 3 * one["switch"]} for one in whole]
    assert [r["ns_per_adapter"] for r in growth_rows([*whole, *other])] == pytest.approx([10, 30])
    assert list(growth_rows([row(0, 1, 1.0), row(1, 1, 1.0)])) == []  # nothing grows


PLAN = """
name = "many"
rounds = 3
requests = 4
warmups = 0
workload = {prompt_tokens = 5}
[[adapters]]
name = "a{number}"
tasks = ["t"]
seeds = [1]
alpha = 8
count = 8
[[configurations]]
name = "merged"
strategy = "lora_merged"
seed = 1
adapters = ["a1"]
[[configurations]]
name = "stacked_{resident}"
strategy = "multi_lora"
form = "stacked"
seed = 1
adapters = ["a{number}"]
resident = [8, 1, 4]
"""


def test_the_tables_have_a_row_for_each_number_and_what_each_further_one_costs(tmp_path: Path) -> None:
    def cost(c: Configuration, task: str, request: int, round_index: int) -> dict[str, int]:
        ns = 1_000_000 + 1_000 * len(c.adapters) + round_index
        switch = {"switch_ns": 5_000 + (100 + round_index) * len(c.adapters)} if c.strategy == "multi_lora" else {}
        return {"host_ns": ns, "wall_ns": ns, **switch}

    loads = {
        f"stacked_{n}": {"adapter_add_ns": 2_000_000, "adapter_remove_ns": 1_000 * n, "resident_bytes": 10**7 + n}
        for n in (1, 4, 8)
    }
    plan = load_generated(tmp_path, PLAN)
    tables = Tables(generated(plan, tmp_path, cost, loads=loads, model=ModelSpec("micro", "preset_device")))
    rows = tables.rows("FROM adapters_resident")
    assert [(r["configuration"], r["resident"], r["n"]) for r in rows] == [
        ("stacked_1", 1, 12),
        ("stacked_4", 4, 12),
        ("stacked_8", 8, 12),
    ]
    assert [r["switch_us"] for r in rows] == pytest.approx([5.101, 5.404, 5.808])
    assert [r["mean_ms"] for r in rows] == pytest.approx([1.001001, 1.004001, 1.008001])
    assert [(r["add_ms"], r["remove_ms"]) for r in rows] == [(2, 0.001), (2, 0.004), (2, 0.008)]
    assert [r["resident_mb"] for r in rows] == pytest.approx([10.000001, 10.000004, 10.000008])
    growth = {r["measure"]: r for r in tables.rows("FROM adapter_growth")}
    assert {measure: r["ns_per_adapter"] for measure, r in growth.items()} == pytest.approx(
        {"switch": 101, "request": 1_000, "add": 0, "remove": 1_000}
    )
    low, high = stats.t.interval(0.95, 2, loc=101, scale=stats.sem([100, 101, 102]))
    assert (growth["switch"]["low"], growth["switch"]["high"]) == pytest.approx((low, high))
    assert [growth[m]["verdict"] for m in ("switch", "request", "add", "remove")] == ["grows", "grows", "flat", "grows"]
