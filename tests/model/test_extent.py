"""The extent of a configuration's requests is that of the longest which is sent, by whichever rules they are made."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import small_checkpoints
from raybench.model.extent import Extent, Extents
from raybench.model.lengths import Lengths
from raybench.model.texts import Texts
from raybench.model.workload import GlueLengths, Workload, request_of
from raybench.plan.plan import Block, Configuration, Plan, Routing
from raybench.plan.schema import Lognormal

SPREAD = Lognormal(median=30, sigma=1.0, max=5000)


def plan_of(*configurations: Configuration, rounds: int = 2, requests: int = 10) -> Plan:
    """Each configuration in a block of its own."""
    blocks = tuple(Block(c.name, (c,)) for c in configurations)
    plan = small_checkpoints.plan_of(*configurations)
    return dataclasses.replace(plan, rounds=rounds, requests=requests, blocks=blocks)


def longest_sent(plan: Plan, c: Configuration, workload: Workload) -> int:
    """Of all requests of all rounds, made as the driver makes them."""
    block = next(block for block in plan.blocks if c in block.members)
    sent = [
        request_of(workload, task, index, c.batch, block.mixed_tasks)
        for round_index in range(plan.rounds)
        for task, index in block.requests(c, round_index * plan.requests, plan.requests)
    ]
    return max(max(p.tokens for p in request.prompts) + request.output_tokens for request in sent)


@settings(deadline=None)
@given(
    tasks=st.integers(1, 5),
    routing=st.sampled_from(get_args(Routing)),
    batch=st.integers(1, 9),
    rounds=st.integers(1, 4),
    requests=st.integers(1, 12),
    seed=st.integers(0, 5),
)
def test_it_is_that_of_the_longest_request_that_is_sent(
    tasks: int, routing: Routing, batch: int, rounds: int, requests: int, seed: int
) -> None:
    if routing == "mixed" and batch == 1:
        routing = "round_robin"
    names = tuple(f"t{i}" for i in range(tasks))
    c = Configuration("one", "multi_lora", 0, names, batch=batch, routing=routing)
    plan = plan_of(c, rounds=rounds, requests=requests)
    workload = Lengths(SPREAD, SPREAD, seed)
    found = Extents(plan, workload).of(c)
    assert found.tokens == longest_sent(plan, c, workload)
    assert found.task in names


def test_requests_of_another_round_or_task_do_not_count() -> None:
    workload = Lengths([1, 1000], None, 4)
    drawn = workload.prompt_tokens("a", 20).tolist()
    few = drawn.index(1000)
    assert few > 0
    alone = Configuration("alone", "full_ft", 0, ("a",))
    for count in (few, few + 1):
        plan = plan_of(alone, rounds=count, requests=1)
        assert Extents(plan, workload).of(alone) == Extent("a", 1000 if count > few else 1, 0)


def test_the_output_is_that_of_the_longest_request() -> None:
    workload = Lengths([10, 20], [1, 100], 0)
    c = Configuration("one", "full_ft", 0, ("a",))
    assert Extents(plan_of(c, rounds=10), workload).of(c) == Extent("a", 20, 100)
    assert Extent("a", 20, 100).tokens == 120


def test_the_largest_token_id_is_that_of_the_texts_that_are_sent() -> None:
    texts = Texts("/t.jsonl", {"a": [[5, 6], [7]], "b": [[900]]}, 0)
    a, both = (Configuration(n, "multi_lora", 0, t) for n, t in (("a", ("a",)), ("both", ("a", "b"))))
    extents = Extents(plan_of(a, both), texts)
    assert extents.of(a) == Extent("a", 2, 0, 7)
    assert extents.of(both).largest_token_id == 900
    assert Extents(plan_of(a), GlueLengths(0)).count == 20


def test_a_million_requests_are_worked_out_once_for_all_that_are_asked_the_same() -> None:
    class Counted(Lengths):
        asked = 0

        def prompt_tokens(self, task: str, count: int) -> Any:
            Counted.asked += 1
            return super().prompt_tokens(task, count)

    configurations = [Configuration(f"c{i}", "full_ft", i, ("a",)) for i in range(500)]
    extents = Extents(plan_of(*configurations, rounds=10, requests=100_000), Counted(SPREAD, 8, 0))
    assert len({extents.of(c) for c in configurations}) == 1
    assert Counted.asked == 1


@pytest.mark.parametrize("tasks", [1, 2, 7])
def test_more_tasks_than_requests_leave_some_unasked(tasks: int) -> None:
    c = Configuration("one", "multi_lora", 0, tuple(f"t{i}" for i in range(tasks)))
    plan = plan_of(c, rounds=1, requests=2)
    workload = Lengths(SPREAD, None, 0)
    assert Extents(plan, workload).of(c).tokens == longest_sent(plan, c, workload)
