"""What is still to be measured, and what failures take out of it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cluster.schedules import makespan
from raybench.cluster.agenda import MAX_ATTEMPTS, Agenda, Job
from raybench.model.prepare import Recipe
from raybench.model.weights import ModelSpec
from raybench.model.workload import GlueLengths
from raybench.plan.plan import Block, Plan
from raybench.visit.spec import VisitSpec

BLOCKS = ["mrpc_seed42", "sst2_seed42", "multi_lora_2_adapters"]
GUESTS = ["lora_mrpc_seed42", "lora_sst2_seed42"]


@pytest.fixture
def job(load_plan: Callable[..., Plan]) -> Job:
    return Job(load_plan(), GlueLengths(7), ModelSpec("micro", "preset_device"), Recipe("", (), ()), "cpu")


def rest(agenda: Agenda) -> list[VisitSpec]:
    found = []
    while spec := agenda.next():
        found.append(spec)
    return found


def keys(specs: list[VisitSpec]) -> list[tuple[str, int]]:
    return [(spec.block, spec.round) for spec in specs]


def names(spec: VisitSpec) -> list[str]:
    return [c.name for c in spec.configurations]


def test_visits_come_in_the_plans_order_once_each(job: Job) -> None:
    agenda = Agenda(job)
    assert len(agenda) == 6
    specs = rest(agenda)
    assert keys(specs) == [(block, r) for r in range(2) for block in [*BLOCKS[r:], *BLOCKS[:r]]]
    assert [spec.visit for spec in specs[:3]] == [f"{block}/r00" for block in BLOCKS]
    assert {spec.attempt for spec in specs} == {0}
    assert len(agenda) == 0
    assert agenda.next() is None


def test_a_visit_knows_all_that_it_needs(job: Job) -> None:
    specs = rest(Agenda(job))
    spec = specs[3]
    assert names(spec) == ["fullft_sst2_seed42", "lora_sst2_seed42", "lora_merged_sst2_seed42"]
    expected = tuple(job.workload.request("sst2", i) for i in range(4, 8))
    assert spec.requests == (expected,) * 3
    assert (spec.model, spec.recipe, spec.device_kind) == (job.model, job.recipe, "cpu")
    assert (spec.warmups, spec.turn_requests, spec.timeout_s) == (1, 1, 1800.0)
    multi = specs[4]
    assert names(multi) == ["multi_lora_2_adapters", *GUESTS]
    assert [(r.task, r.index) for r in multi.requests[0]] == [("mrpc", 4), ("sst2", 5), ("mrpc", 6), ("sst2", 7)]
    assert multi.requests[1] == multi.requests[0][::2]
    assert multi.requests[2] == multi.requests[0][1::2]


@pytest.mark.parametrize(
    ("rounds", "calibrated"),
    [(1, [0]), (6, [0, 1, 2, 3, 4, 5]), (10, [0, 2, 4, 6, 8]), (33, [0, 8, 16, 24, 32]), (1000, [0, 250, 500, 750])],
)
def test_the_device_is_calibrated_in_four_rounds_or_a_few_more(job: Job, rounds: int, calibrated: list[int]) -> None:
    plan = dataclasses.replace(job.plan, rounds=rounds)
    specs = [spec for spec in rest(Agenda(dataclasses.replace(job, plan=plan))) if spec.block == "mrpc_seed42"]
    assert [spec.round for spec in specs if spec.calibrates] == calibrated


def test_all_visits_together_are_the_samples_that_the_plan_expects(job: Job) -> None:
    counts = [len(requests) for spec in rest(Agenda(job)) for requests in spec.requests]
    assert sum(counts) == job.plan.expected_samples() == (7 + 1) * 8


def test_each_block_draws_its_own_orders_from_the_plans_seed(load_plan: Callable[..., Plan], job: Job) -> None:
    seeds = [spec.order_seed for spec in rest(Agenda(job))]
    assert seeds == [(0, index) for index in (0, 1, 2, 1, 2, 0)]
    assert seeds == [spec.order_seed for spec in rest(Agenda(job))]
    other = dataclasses.replace(job, plan=load_plan(order_seed=1))
    assert not set(seeds) & {spec.order_seed for spec in rest(Agenda(other))}
    # What is done already does not change what is drawn for the rest.
    resumed = Agenda(job, done=[("mrpc_seed42", 0), ("sst2_seed42", 0)])
    assert {spec.order_seed for spec in rest(resumed)} == set(seeds)


def test_what_is_committed_is_not_measured_again(job: Job) -> None:
    done = [("mrpc_seed42", 0), ("multi_lora_2_adapters", 0), ("sst2_seed42", 1)]
    agenda = Agenda(job, done=done)
    assert len(agenda) == 3
    assert sorted(keys(rest(agenda))) == [("mrpc_seed42", 1), ("multi_lora_2_adapters", 1), ("sst2_seed42", 0)]


def test_a_failed_configuration_is_dropped_from_every_later_visit(job: Job) -> None:
    agenda = Agenda(job)
    first = agenda.next()
    assert first is not None
    assert "lora_mrpc_seed42" in names(first)
    agenda.drop("lora_mrpc_seed42")
    specs = {key: names(spec) for spec in rest(agenda) for key in keys([spec])}
    assert specs["mrpc_seed42", 1] == ["fullft_mrpc_seed42", "lora_merged_mrpc_seed42"]
    assert specs["multi_lora_2_adapters", 0] == ["multi_lora_2_adapters", "lora_sst2_seed42"]
    assert specs["sst2_seed42", 0] == ["fullft_sst2_seed42", "lora_sst2_seed42", "lora_merged_sst2_seed42"]
    assert len(specs) == 5


def test_what_failed_before_a_resume_stays_out(job: Job) -> None:
    specs = rest(Agenda(job, failed=["fullft_mrpc_seed42"]))
    assert all("fullft_mrpc_seed42" not in names(spec) for spec in specs)
    assert len(specs) == 6
    requests = [len(spec.requests) for spec in specs if spec.block == "mrpc_seed42"]
    assert requests == [2, 2]


def test_guests_are_not_measured_where_nothing_is_to_be_compared_with_them(job: Job) -> None:
    specs = rest(Agenda(job, failed=["multi_lora_2_adapters"]))
    assert sorted(keys(specs)) == sorted((block, r) for r in range(2) for block in BLOCKS[:2])
    without_guests = rest(Agenda(job, failed=GUESTS))
    assert names(without_guests[2]) == ["multi_lora_2_adapters"]


def test_a_guest_without_a_request_in_a_round_is_left_out_of_it(load_plan: Callable[..., Plan], job: Job) -> None:
    single = dataclasses.replace(job, plan=load_plan(requests=1))
    multi = [spec for spec in rest(Agenda(single)) if spec.block == "multi_lora_2_adapters"]
    assert [names(spec) for spec in multi] == [
        ["multi_lora_2_adapters", "lora_mrpc_seed42"],
        ["multi_lora_2_adapters", "lora_sst2_seed42"],
    ]
    assert [[len(r) for r in spec.requests] for spec in multi] == [[1, 1], [1, 1]]


def test_nothing_is_left_when_everything_failed(job: Job) -> None:
    assert Agenda(job, failed=[c.name for c in job.plan.configurations]).next() is None


def test_a_lost_visit_comes_next_under_a_new_name_and_a_limited_number_of_times(job: Job) -> None:
    agenda = Agenda(job)
    spec: Any = agenda.next()
    tried = [spec.visit]
    while agenda.again(spec, lost=True):
        spec = agenda.next()
        tried.append(spec.visit)
    assert tried == ["mrpc_seed42/r00", *(f"mrpc_seed42/r00/a{n}" for n in range(1, MAX_ATTEMPTS))]
    assert keys(rest(agenda))[0] == ("sst2_seed42", 0)


def test_losses_of_one_visit_are_not_counted_for_another(job: Job) -> None:
    agenda = Agenda(job)
    tried: Counter[str] = Counter()
    while spec := agenda.next():
        tried[f"{spec.block} {spec.round}"] += 1
        agenda.again(spec, lost=True)
    assert tried == {f"{block} {r}": MAX_ATTEMPTS for block in BLOCKS for r in range(2)}


def test_a_visit_that_lost_a_configuration_is_tried_as_often_as_that_happens(job: Job) -> None:
    agenda = Agenda(job)
    spec: Any = agenda.next()
    for name in ("fullft_mrpc_seed42", "lora_mrpc_seed42"):
        agenda.drop(name)
        assert agenda.again(spec, lost=False)
        spec = agenda.next()
    assert (spec.visit, names(spec)) == ("mrpc_seed42/r00/a2", ["lora_merged_mrpc_seed42"])
    # None of that used up its attempts for when the worker itself is lost.
    for _ in range(MAX_ATTEMPTS - 1):
        assert agenda.again(spec, lost=True)
        spec = agenda.next()
    assert not agenda.again(spec, lost=True)


def test_later_rounds_wait_until_they_are_asked_for(job: Job) -> None:
    agenda = Agenda(job)
    agenda.last_round = 0
    assert {spec.round for spec in rest(agenda)} == {0}
    agenda.last_round = 1
    assert [spec.round for spec in rest(agenda)] == [1, 1, 1]


def of_blocks(job: Job, blocks: int, rounds: int, *, kinds: bool = False) -> Job:
    """A job of that many blocks of one configuration each, all of one strategy or of all of them."""
    of = job.plan.configurations
    made = tuple(
        Block(f"b{i:03d}", (dataclasses.replace(of[i % 7 if kinds else 0], name=f"c{i:03d}"),)) for i in range(blocks)
    )
    plan = dataclasses.replace(job.plan, rounds=rounds, configurations=tuple(b.members[0] for b in made), blocks=made)
    return dataclasses.replace(job, plan=plan)


def test_every_block_meets_every_device_about_as_often(job: Job) -> None:
    agenda = Agenda(of_blocks(job, blocks=11, rounds=8))
    rng = np.random.default_rng(1)
    met: Counter[tuple[str, str]] = Counter()
    while spec := agenda.next(device := f"gpu{rng.integers(4)}"):
        met[spec.block, device] += 1
    assert met.total() == 88
    assert len(met) == 44
    assert set(met.values()) <= {1, 2, 3}


def test_what_was_served_before_a_resume_counts(job: Job) -> None:
    served = [(f"b{i:03d}", "a") for i in (0, 1)]
    agenda = Agenda(of_blocks(job, blocks=3, rounds=2), served=served)
    first: Any = agenda.next("a")
    assert first.block == "b002"
    other: Any = agenda.next("b")
    assert other.block == "b000"


def test_the_last_round_goes_longest_first_as_measured(job: Job) -> None:
    agenda = Agenda(of_blocks(job, blocks=6, rounds=2))
    for i, spec in enumerate(iter(lambda: agenda.next("a"), None)):
        if spec.round == 1:
            break
        agenda.learn(spec.block, 1000 + 700 * i)
    assert spec is not None
    assert [spec.block, *(s.block for s in rest(agenda))] == ["b005", "b004", "b003", "b002", "b001", "b000"]


def test_before_anything_is_measured_a_visit_is_as_long_as_its_forwards(job: Job) -> None:
    assert [
        spec.block for spec in rest(Agenda(dataclasses.replace(job, plan=dataclasses.replace(job.plan, rounds=1))))
    ][-1] == BLOCKS[-1]


def test_nobody_waits_for_a_round_to_be_over(job: Job) -> None:
    agenda = Agenda(of_blocks(job, blocks=2, rounds=3))
    assert [spec.round for spec in rest(agenda)] == [0, 0, 1, 1, 2, 2]
    agenda = Agenda(of_blocks(job, blocks=2, rounds=3))
    agenda.last_round = 1
    assert (agenda.waiting(), len(agenda)) == (4, 6)


@pytest.mark.parametrize(("devices", "blocks", "rounds"), [(1, 7, 3), (4, 11, 10), (50, 170, 10), (50, 500, 1)])
def test_the_last_device_is_done_soon_after_the_others(job: Job, devices: int, blocks: int, rounds: int) -> None:
    rng = np.random.default_rng(devices)
    work = of_blocks(job, blocks, rounds, kinds=True)
    seconds = {"full_ft": 20.0, "lora_separate": 35.0, "lora_merged": 60.0, "multi_lora": 90.0}
    durations = {block.name: seconds[block.members[0].strategy] for block in work.plan.blocks}
    agenda = Agenda(work)
    took, least, _ = makespan(agenda, devices, lambda spec: durations[spec.block] * float(rng.lognormal(0, 0.05)))
    assert not len(agenda)
    assert took <= 1.05 * least
