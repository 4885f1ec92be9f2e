"""Batches in plans: an axis of configurations, of blocks and of what is compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from plan.plan_texts import ADAPTERS, HEAD, MATRIX, MULTI, read, refusal, refusals
from raybench.deploy.strategies import all_traits
from raybench.model.workload import GlueLengths, glue_tasks, request_of
from raybench.plan import file as plan_file
from raybench.plan.builder import Overrides
from raybench.records import InputError

BATCHES = MATRIX.replace("x_{task}_{seed}", "x_{task}_b{batch}") + "batch = [1, 4]\n"
MIXED = MULTI + 'routing = "mixed"\nbatch = 4\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plan.toml"


def test_each_batch_is_a_configuration_in_a_block_of_its_own(path: Path) -> None:
    plan, _ = read(path, HEAD + ADAPTERS + BATCHES)
    assert {c.name: c.batch for c in plan.configurations} == {
        "x_mrpc_b1": 1,
        "x_sst2_b1": 1,
        "x_mrpc_b4": 4,
        "x_sst2_b4": 4,
    }
    assert {block.name: [c.name for c in block.configurations] for block in plan.blocks} == {
        "mrpc_seed1": ["x_mrpc_b1"],
        "sst2_seed1": ["x_sst2_b1"],
        "mrpc_seed1_batch4": ["x_mrpc_b4"],
        "sst2_seed1_batch4": ["x_sst2_b4"],
    }


def test_several_adapters_are_compared_with_those_of_their_own_batch(path: Path) -> None:
    text = HEAD + ADAPTERS + BATCHES + MULTI.replace('"both"', '"both_b{batch}"') + "batch = [1, 4]\n"
    plan, _ = read(path, text)
    compared = {c.configuration: [r.configuration for r in c.references] for c in plan.comparisons}
    assert compared == {"both_b1": ["x_mrpc_b1", "x_sst2_b1"], "both_b4": ["x_mrpc_b4", "x_sst2_b4"]}


def test_a_mixed_batch_has_the_tasks_in_turn_and_so_has_that_of_its_counterparts(path: Path) -> None:
    plan, _ = read(path, HEAD + ADAPTERS + BATCHES + MIXED)
    block = next(b for b in plan.blocks if b.name == "both")
    assert [c.name for c in block.configurations] == ["both", "x_mrpc_b4", "x_sst2_b4"]
    assert block.mixed_tasks == ("mrpc", "sst2")
    served = [block.requests(c, 0, 4) for c in block.configurations]
    assert served == [[("mrpc", 0), ("sst2", 1), ("mrpc", 2), ("sst2", 3)]] * 3
    request = request_of(GlueLengths(0), "sst2", 1, 4, block.mixed_tasks)
    assert [(p.task, p.index) for p in request.prompts] == [("sst2", 4), ("mrpc", 5), ("sst2", 6), ("mrpc", 7)]
    assert (request.task, request.index) == ("sst2", 1)
    assert request.tokens == sum(GlueLengths(0).request(p.task, p.index).tokens for p in request.prompts)


def test_a_batch_of_one_task_has_the_next_prompts_of_it() -> None:
    request = request_of(GlueLengths(0), "mrpc", 2, 3)
    assert [(p.task, p.index) for p in request.prompts] == [("mrpc", 6), ("mrpc", 7), ("mrpc", 8)]
    assert request_of(GlueLengths(0), "mrpc", 2) == GlueLengths(0).request("mrpc", 2)
    assert request_of(GlueLengths(0), "mrpc", 2).prompts == (request_of(GlueLengths(0), "mrpc", 2),)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(MULTI + 'routing = "mixed"\n', id="batch of one"),
        pytest.param(BATCHES.replace("batch = [1, 4]", 'batch = 4\nrouting = "mixed"'), id="one adapter"),
    ],
)
def test_what_cannot_be_mixed_is_refused(path: Path, text: str) -> None:
    told = refusal(path, HEAD + ADAPTERS + text)
    assert told.endswith("routing: mixed goes with several adapters and a batch of 2 or more")


def test_mixed_batches_are_refused_apart_from_their_counterparts(path: Path) -> None:
    path.write_text(HEAD + ADAPTERS + BATCHES + MIXED)
    with pytest.raises(InputError, match="'both' has routing mixed, which only the paired design can compare"):
        plan_file.load_plan(str(path), all_traits(), glue_tasks(), Overrides(design="independent"))


def test_a_batch_that_the_name_does_not_tell_is_refused(path: Path) -> None:
    told, _ = refusals(path, HEAD + ADAPTERS + BATCHES.replace("_b{batch}", ""))
    assert told == (
        "matrix[0].name: duplicate configuration 'x_mrpc'; every name must be its own "
        "({task}, {seed}, {batch}, {resident}, {load})"
    )
