"""What a run holds of each strategy, and what it lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from decide.advising import LATENCIES_MS, MB, MEMORY, MS, advise, by_way, make_run, with_memory
from raybench.analysis.percentiles import samples_needed
from raybench.analysis.stats import Estimate
from raybench.analysis.tables import Tables
from raybench.decide.evidence import FOR_A_P95, Evidence
from raybench.decide.queueing import Service
from small_plans import SMALL_PLAN


def test_a_p95_needs_as_many_samples_as_any_p95() -> None:
    assert samples_needed(95) == FOR_A_P95


def test_a_load_that_peaks_above_a_forward_is_what_must_fit(short_run: Path) -> None:
    peaks = {**MEMORY, "lora_merged": (1000, 0, 900, 1500, 100), "multi_lora": (1000, 20, 900, 1220, 120)}
    run = Evidence(with_memory(short_run, peaks))
    run.services = dict.fromkeys(peaks, Service(np.array([MS]), np.array([1.0])))
    run.speeds = dict.fromkeys(peaks, Estimate(0.0, 0.01, 9, 10))
    found = {m.way.name: (m.each // MB, m.beside // MB) for m in run.measured()}
    assert found["merged"] == (1000, 500)
    # The counter said 900, the parameters alone are 1000 and 1020: those count. So the peak adds 1220 - 1020 there,
    # beside a base of 1000.
    assert found["multi_adapter"] == (10, 1200)


def test_tasks_of_all_strategies_only_and_each_counts_alike(known_tables: Tables) -> None:
    assert advise(known_tables).measured_tasks == ("mrpc", "sst2")
    run = Evidence(known_tables)
    for service in run.services.values():
        assert float(service.weights.sum()) == pytest.approx(1, rel=1e-12)


def test_only_tasks_that_all_served_count_and_the_most_adapters_stand_for_several(tmp_path: Path) -> None:
    plan = SMALL_PLAN.replace('["mrpc", "sst2"]', '["mrpc", "sst2", "rte"]').replace(
        'strategy = "lora_merged"\ntasks = ["mrpc", "sst2", "rte"]', 'strategy = "lora_merged"\ntasks = ["sst2", "rte"]'
    )
    three = """
    [[configurations]]
    name = "multi_lora_3_adapters"
    strategy = "multi_lora"
    seed = 42
    adapters = ["mrpc_seed42", "sst2_seed42", "rte_seed42"]
    """
    for i, several in enumerate((plan + three, plan.replace("[[configurations]]", three + "[[configurations]]"))):
        run = Evidence(with_memory(make_run(tmp_path / str(i), LATENCIES_MS, several, rounds=1)))
        assert run.tasks == ("rte", "sst2")
        assert run.rows["multi_lora"]["deployment"] == "Multi-adapter (3)"


def test_too_few_requests_for_a_p95_and_unmeasured_numbers_give_no_advice(short_run: Path) -> None:
    assert advise(with_memory(short_run)).missing == tuple(
        f"{label}: a p95 needs 130 requests, not {n}"
        for label, n in (("Full FT", 8), ("LoRA Separate", 8), ("LoRA Merged", 8), ("Multi-adapter (2)", 4))
    )
    lacking = advise(Tables(short_run)).missing
    assert "LoRA Separate: adapter_load_ns was not measured" in lacking
    assert "Full FT: parameter_bytes was not measured" in lacking


def test_too_few_switches_for_a_p95_give_no_advice(known_tables: Tables) -> None:
    tables = with_memory(known_tables.root)
    tables.connection.execute(
        "CREATE TABLE measured_timed AS FROM timed; CREATE OR REPLACE VIEW timed AS"
        " SELECT * REPLACE (CASE WHEN round < 2 THEN switch_ns END AS switch_ns) FROM measured_timed"
    )
    assert advise(tables).missing == ("Multi-adapter (2): a p95 needs 130 switches, not 88",)


def test_of_few_adapter_loads_the_longest_counts_and_of_enough_the_p95(known_tables: Tables) -> None:
    tables = with_memory(known_tables.root)
    tables.connection.execute(
        "CREATE TABLE few_loads AS FROM loads;"
        "CREATE OR REPLACE VIEW loads AS SELECT * REPLACE"
        " (CASE WHEN round = 0 AND configuration LIKE '%sst2%' THEN 90 ELSE 30 END * 1000000 AS adapter_load_ns)"
        " FROM few_loads"
    )

    def swapped(tables: Tables) -> tuple[float, str]:
        way = by_way(advise(tables))["separate_swapped"]
        return way.switch_s, way.switch_is

    assert swapped(tables) == (0.09, "longest of 6 adapter loads")
    few = "A swap is planned with the longest of 6 adapter loads: a p95 needs 130. With 74 % probability the true p95 "
    assert few + "is longer." in advise(tables).cautions
    assert not any("swap is planned" in line for line in advise(tables, switches=0.0).cautions)
    tables.connection.execute(
        "CREATE TABLE many_loads AS FROM loads;"
        "INSERT INTO many_loads SELECT l.* REPLACE (30000000 AS adapter_load_ns) FROM loads AS l, range(21);"
        "CREATE OR REPLACE VIEW loads AS FROM many_loads"
    )
    assert swapped(tables) == (0.03, "p95 of 132 adapter loads")
    assert not any("swap is planned" in line for line in advise(tables).cautions)


def test_a_run_on_a_cpu_is_known_by_its_devices(short_run: Path) -> None:
    tables = Tables(short_run)
    assert not Evidence(tables).on_cpu
    tables.connection.execute(
        "CREATE TABLE measured_visits AS FROM visits;"
        "CREATE OR REPLACE VIEW visits AS SELECT * REPLACE ('cpu@host' AS device) FROM measured_visits"
    )
    assert Evidence(tables).on_cpu
