"""Advice on runs of language models, and on runs of several batches: end to end, one prompt at a time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from decide.advising import NEEDS, advise, by_way, with_memory
from generated_runs import PLAN, Took, batched, even_cost, generated, load_generated
from raybench.analysis.tables import Tables
from raybench.plan.plan import Configuration
from raybench.records import InputError

LONG = {"rounds": 3, "requests": 44}


def of_batch(c: Configuration, task: str, request: int, round_index: int) -> Took:
    """A batch of 8 takes five times as long as one prompt."""
    took = even_cost(c, task, request, round_index)
    factor = 5 if c.batch > 1 else 1
    return dataclasses.replace(took, prefill=took.prefill * factor, steps=[step * factor for step in took.steps])


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("single")
    return with_memory(generated(load_generated(folder, **LONG), folder, of_batch))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("both")
    return with_memory(generated(load_generated(folder, batched([1, 8]), **LONG), folder, of_batch))


def test_a_language_model_is_planned_with_its_whole_requests(single: Tables) -> None:
    advice = advise(single)
    assert advice.missing == ()
    ways = by_way(advice)
    # 10 + 3 x 2.01 ms merged, 13 + 3 x 2.8 ms and a switch of 1 ms for several adapters.
    assert ways["merged"].p95_s == pytest.approx(0.01603, rel=1e-3)
    assert ways["multi_adapter"].p95_s == pytest.approx(0.0224, rel=1e-3)
    assert (
        "A request is one prompt and all that follows (4 tokens on average); a server that batches carries more."
        in advice.cautions
    )
    assert not any("batches of" in caution for caution in advice.cautions)
    ratios = {frozenset([c.strategy, c.reference]): c.ratio for c in advice.comparisons}
    assert ratios[frozenset(["lora_merged", "full_ft"])] in (
        pytest.approx(16.03 / 16, rel=1e-4),
        pytest.approx(16 / 16.03, rel=1e-4),
    )


def test_batches_are_left_out_and_that_is_said(single: Tables, both: Tables) -> None:
    alone, beside = advise(single), advise(both)
    assert "Configurations in batches of 8 are left out: this is for one prompt at a time." in beside.cautions
    for way, one in by_way(alone).items():
        other = by_way(beside)[way]
        assert (one.gpus, one.p95_s) == (other.gpus, pytest.approx(other.p95_s, rel=1e-3))
        assert one.requests_per_second_per_gpu == pytest.approx(other.requests_per_second_per_gpu, rel=1e-3)
    assert [(c.strategy, c.reference) for c in alone.comparisons] == [
        (c.strategy, c.reference) for c in beside.comparisons
    ]


def test_without_a_batch_of_one_there_is_no_advice(tmp_path: Path) -> None:
    tables = Tables(generated(load_generated(tmp_path, batched([8, 32])), tmp_path, of_batch))
    with pytest.raises(
        InputError, match=r"/run: every configuration serves batches \(of 8, 32\), .* one prompt at a time"
    ):
        advise(tables)


def test_a_strategy_that_is_there_in_batches_only_is_lacking(tmp_path: Path) -> None:
    matrix = 'name = "merged_{task}"\nstrategy = "lora_merged"'
    text = PLAN.replace(matrix, matrix + "\nbatch = 4")
    advice = advise(Tables(generated(load_generated(tmp_path, text, **LONG), tmp_path, of_batch)))
    assert advice.missing == ("lora_merged: in this run only in batches of 4, not of 1",)
    assert advice.next_command.startswith("raybench sweep --plan lm --model micro-lm ")
    assert NEEDS.tasks == 3
