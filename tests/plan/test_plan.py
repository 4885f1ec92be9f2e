"""Configurations, blocks, the requests each serves, and what is compared with what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from raybench.deploy import strategies
from raybench.model.workload import GlueLengths, glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.builder import Overrides
from raybench.plan.plan import (
    Adapter,
    Block,
    Configuration,
    Peers,
    Plan,
    Reference,
    Visit,
    homes,
    make_blocks,
    make_comparisons,
)

TASKS = ("mrpc", "sst2", "rte")
SEEDS = (42, 1337, 2024)
STUDY = {
    f"{prefix}_{task}_seed{seed}" for prefix in ("lora", "fullft", "lora_merged") for task in TASKS for seed in SEEDS
}
STUDY |= {"multi_lora_2_adapters", "multi_lora_3_adapters"}


def shipped(name: str, **overrides: Any) -> Plan:
    return plan_file.load_plan(name, strategies.all_traits(), glue_tasks(), Overrides(**overrides))[0]


@pytest.fixture(scope="module")
def rq2() -> Plan:
    return shipped("rq2")


@pytest.fixture(scope="module")
def independent() -> Plan:
    return shipped("rq2", design="independent")


def adapter(task: str, seed: int = 1) -> Adapter:
    return Adapter(f"{task}_{seed}", task, seed, 8, 8, ("q_proj",))


def configuration(name: str, strategy: str, *tasks: str, seed: int = 1, **values: Any) -> Configuration:
    adapters = () if strategy == "full_ft" else tuple(adapter(task, seed) for task in tasks)
    return Configuration(name, strategy, seed, tasks, adapters, **values)


def test_rq2_has_exactly_the_studys_configurations_under_its_names(rq2: Plan) -> None:
    names = [c.name for c in rq2.configurations]
    assert len(names) == 29
    assert set(names) == STUDY
    assert Counter(c.strategy for c in rq2.configurations) == {
        "lora_separate": 9,
        "full_ft": 9,
        "lora_merged": 9,
        "multi_lora": 2,
    }


def test_rq2_deploys_the_adapters_that_the_study_trained(rq2: Plan) -> None:
    by_name = {c.name: c for c in rq2.configurations}
    for task in TASKS:
        for seed in SEEDS:
            trained = Adapter(f"{task}_seed{seed}", task, seed, 8, 64 if task == "mrpc" else 8, ("q_proj", "v_proj"))
            assert by_name[f"lora_{task}_seed{seed}"].adapters == (trained,)
            assert by_name[f"lora_merged_{task}_seed{seed}"].adapters == (trained,)
            assert by_name[f"fullft_{task}_seed{seed}"].adapters == ()
    multi = [by_name[f"multi_lora_{n}_adapters"] for n in (2, 3)]
    assert [[a.name for a in m.adapters] for m in multi] == [
        ["mrpc_seed42", "sst2_seed42"],
        ["mrpc_seed42", "sst2_seed42", "rte_seed42"],
    ]
    assert [m.tasks for m in multi] == [("mrpc", "sst2"), ("mrpc", "sst2", "rte")]
    assert {c.adapter_dtype for c in rq2.configurations} == {"float32"}


def test_rq2_compares_each_task_and_seed_in_a_block_and_each_multi_with_its_counterparts(rq2: Plan) -> None:
    members = {b.name: {c.name for c in b.members} for b in rq2.blocks}
    guests = {b.name: [c.name for c in b.guests] for b in rq2.blocks if b.guests}
    assert members == {
        f"{task}_seed{seed}": {f"{p}_{task}_seed{seed}" for p in ("fullft", "lora", "lora_merged")}
        for task in TASKS
        for seed in SEEDS
    } | {name: {name} for name in ("multi_lora_2_adapters", "multi_lora_3_adapters")}
    assert guests == {
        "multi_lora_2_adapters": ["lora_mrpc_seed42", "lora_sst2_seed42"],
        "multi_lora_3_adapters": ["lora_mrpc_seed42", "lora_sst2_seed42", "lora_rte_seed42"],
    }
    assert len(rq2.blocks) == 11


def test_rq2_takes_500_samples_of_each_configuration_and_as_many_of_each_multis_counterparts(rq2: Plan) -> None:
    assert rq2.expected_samples() == 29 * 500 + 2 * 500 == 15_500
    own: Counter[str] = Counter()
    blocks = {block.name: block for block in rq2.blocks}
    for visit in rq2.visits():
        block = blocks[visit.block]
        own.update({c.name: len(block.requests(c, visit.round * rq2.requests, rq2.requests)) for c in block.members})
    assert own == dict.fromkeys(STUDY, 500)


def test_no_request_is_served_twice_and_all_of_a_block_serve_the_same(rq2: Plan) -> None:
    for block in rq2.blocks:
        served: dict[str, list[tuple[str, int]]] = {c.name: [] for c in block.configurations}
        for round_index in range(rq2.rounds):
            for c in block.configurations:
                served[c.name] += block.requests(c, round_index * rq2.requests, rq2.requests)
        assert all(len(set(requests)) == len(requests) for requests in served.values())
        together = [sorted(served[c.name]) for c in block.members]
        assert all(requests == together[0] for requests in together)
        if block.guests:
            assert sorted(r for c in block.guests for r in served[c.name]) == together[0]


@pytest.mark.parametrize("count", [2, 3])
def test_a_multis_request_is_the_same_input_as_its_counterparts_in_both_their_blocks(rq2: Plan, count: int) -> None:
    workload = GlueLengths(rq2.workload_seed)
    home_of = homes(rq2.blocks)
    block = home_of[f"multi_lora_{count}_adapters"]
    multi = block.members[0]
    for first in (0, 50, 450):
        requests = block.requests(multi, first, 50)
        assert [index for _, index in requests] == list(range(first, first + 50))
        for guest in block.guests:
            mine = [r for r in requests if r[0] == guest.tasks[0]]
            assert block.requests(guest, first, 50) == mine
            at_home = home_of[guest.name].requests(guest, first, 50)
            assert set(mine) <= set(at_home)
            home = {index: workload.request(task, index) for task, index in at_home}
            assert [workload.request(*r) for r in mine] == [home[index] for _, index in mine]


def test_independent_makes_each_configuration_a_block_that_takes_all_its_samples_in_one_visit(
    independent: Plan,
) -> None:
    assert [b.name for b in independent.blocks] == [c.name for c in independent.configurations]
    assert {b.name for b in independent.blocks} == STUDY
    assert all(b.guests == () and len(b.members) == 1 for b in independent.blocks)
    assert (independent.rounds, independent.requests, len(list(independent.visits()))) == (1, 500, 29)
    assert independent.expected_samples() == 29 * 500


def test_both_designs_serve_a_configuration_the_same_requests(rq2: Plan, independent: Plan) -> None:
    for c in rq2.configurations:
        rounds = [c.requests(r * rq2.requests, rq2.requests) for r in range(rq2.rounds)]
        assert [r for requests in rounds for r in requests] == c.requests(0, independent.requests)


def test_overrides_change_only_what_they_name() -> None:
    plan = shipped("rq2", rounds=3, requests=7, order_seed=9, accelerator_type="L4")
    assert (plan.rounds, plan.requests, plan.order_seed, plan.accelerator_type) == (3, 7, 9, "L4")
    assert plan.expected_samples() == 31 * 3 * 7
    assert (plan.warmups, plan.workload_seed, plan.margin, len(plan.blocks)) == (3, 0, 0.02, 11)
    split = shipped("rq2", design="independent", rounds=4)
    assert (split.rounds, split.requests) == (4, 50)


def test_visits_go_round_by_round_so_that_early_results_cover_every_block(rq2: Plan) -> None:
    visits = list(rq2.visits())
    names = [b.name for b in rq2.blocks]
    # Each round starts one block later, so that with several GPUs a block does not stay on one.
    assert visits == [Visit(name, r) for r in range(10) for name in names[r:] + names[:r]]


def test_round_robin_goes_on_across_rounds_and_blocked_gives_each_task_one_stretch() -> None:
    turns = configuration("m", "multi_lora", "a", "b", "c")
    assert turns.requests(0, 5) == [("a", 0), ("b", 1), ("c", 2), ("a", 3), ("b", 4)]
    assert turns.requests(5, 2) == [("c", 5), ("a", 6)]
    blocked = configuration("m", "multi_lora", "a", "b", "c", routing="blocked")
    tasks = [task for task, _ in blocked.requests(50, 50)]
    assert tasks == ["a"] * 17 + ["b"] * 17 + ["c"] * 16
    assert [index for _, index in blocked.requests(50, 50)] == list(range(50, 100))


def test_a_guest_serves_what_its_blocked_host_serves() -> None:
    multi = configuration("m", "multi_lora", "a", "b", routing="blocked")
    guest = configuration("g", "lora_separate", "b")
    block = Block("m", (multi,), (guest,))
    assert block.requests(guest, 10, 5) == [("b", 13), ("b", 14)]


def test_rq2_compares_each_with_full_fine_tuning_and_with_the_separate_adapter(rq2: Plan) -> None:
    direct = {
        (c.configuration, c.block, c.reference_strategy, c.references)
        for c in rq2.comparisons
        if len(c.references) == 1
    }
    expected = set()
    for task in TASKS:
        for seed in SEEDS:
            block, full, lora = f"{task}_seed{seed}", f"fullft_{task}_seed{seed}", f"lora_{task}_seed{seed}"
            merged = f"lora_merged_{task}_seed{seed}"
            for one, strategy, other in (
                (lora, "full_ft", full),
                (merged, "full_ft", full),
                (full, "lora_separate", lora),
                (merged, "lora_separate", lora),
            ):
                expected.add((one, block, strategy, (Reference(other, block),)))
    assert direct == expected
    assert len(rq2.comparisons) == 36 + 4


def test_a_multi_is_compared_with_its_counterparts_in_its_own_block_and_with_full_fine_tuning_through_them(
    rq2: Plan,
) -> None:
    for count in (2, 3):
        name = f"multi_lora_{count}_adapters"
        found = {c.reference_strategy: c for c in rq2.comparisons if c.configuration == name}
        references = tuple(Reference(f"lora_{task}_seed42", name) for task in TASKS[:count])
        assert set(found) == {"full_ft", "lora_separate"}
        assert (found["lora_separate"].via, found["lora_separate"].references) == (None, references)
        assert (found["full_ft"].via, found["full_ft"].references) == ("lora_separate", references)
        assert {c.block for c in found.values()} == {name}


def test_in_the_independent_design_each_reference_counts_in_its_own_block(independent: Plan) -> None:
    assert len(independent.comparisons) == 40
    assert all(c.block == c.configuration for c in independent.comparisons)
    assert all(r.block == r.configuration for c in independent.comparisons for r in c.references)


def test_a_multi_without_all_its_counterparts_is_compared_with_nothing() -> None:
    lone = (configuration("m", "multi_lora", "mrpc", "sst2"), configuration("l", "lora_separate", "mrpc"))
    assert [c.name for c in Peers(lone).counterparts(lone[0])] == ["l"]
    assert make_comparisons(lone, make_blocks(lone, "paired"), ["full_ft", "lora_separate"]) == ()


def test_only_what_runs_in_the_same_data_type_is_compared() -> None:
    exact = {"dtype": "float32"}
    short = {"dtype": "bfloat16"}
    configurations = tuple(
        configuration(f"{strategy}_{values['dtype']}", strategy, "mrpc", **values)
        for values in (exact, short)
        for strategy in ("full_ft", "lora_merged")
    )
    found = make_comparisons(configurations, make_blocks(configurations, "paired"), ["full_ft"])
    assert {(c.configuration, c.references[0].configuration) for c in found} == {
        ("lora_merged_float32", "full_ft_float32"),
        ("lora_merged_bfloat16", "full_ft_bfloat16"),
    }


def test_a_multis_counterparts_keep_their_adapters_in_its_adapter_type() -> None:
    separate = tuple(
        configuration(f"{task}_{dtype}", "lora_separate", task, adapter_dtype=dtype)
        for task in ("mrpc", "sst2")
        for dtype in ("float32", "same")
    )
    for dtype in ("float32", "same"):
        multi = configuration("m", "multi_lora", "mrpc", "sst2", adapter_dtype=dtype)
        assert [c.name for c in Peers((*separate, multi)).counterparts(multi)] == [f"mrpc_{dtype}", f"sst2_{dtype}"]


def test_a_configurations_home_is_the_block_that_it_is_a_member_of(load_plan: Callable[..., Plan]) -> None:
    plan = load_plan()
    home = homes(plan.blocks)
    assert home.keys() == {c.name for c in plan.configurations}
    assert home["lora_mrpc_seed42"].name == "mrpc_seed42"
    assert home["multi_lora_2_adapters"].name == "multi_lora_2_adapters"
    assert plan.tasks() == ("mrpc", "sst2")


def test_smoke_has_every_strategy_and_few_samples() -> None:
    plan = shipped("smoke")
    assert {c.strategy for c in plan.configurations} == set(strategies.STRATEGIES) - {"delay", "base_beside_lora"}
    assert plan.expected_samples() == (7 + 1) * 10
