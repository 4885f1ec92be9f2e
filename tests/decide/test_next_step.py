"""What to type next: it fits what the run lacks, and can be typed."""

from __future__ import annotations

import dataclasses
import math
import shlex
from pathlib import Path
from typing import Any

import pytest

from command_lines import told_sweep
from decide.advising import LATENCIES_MS, advise, make_run, with_memory, without_last_visit
from raybench.analysis.tables import Tables
from raybench.decide.advice import Advice
from raybench.deploy import strategies
from raybench.model.workload import GlueLengths, glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.builder import Overrides
from raybench.records import INFRASTRUCTURE
from raybench.store.store import RunStore
from raybench.sweep.describe import describe, differences
from raybench.sweep.options import SweepOptions
from runs import MODEL, judge_anew
from small_plans import SMALL_PLAN

ROUNDS = {"rounds": 2, "requests": 4}


def typed(advice: Advice) -> SweepOptions:
    """The options of the next command, as the sweep reads them."""
    command, _, why = advice.next_command.partition("    # ")
    assert why
    words = shlex.split(command)
    assert words[:2] == ["raybench", "sweep"]
    found: SweepOptions = told_sweep(words[2:])
    return found


def with_failure(run: Path, configuration: str, kind: str) -> Tables:
    """The run with a failure that its store has not."""
    tables = Tables(run)
    tables.connection.execute(
        "CREATE TABLE some_failures AS FROM failures; INSERT INTO some_failures VALUES"
        f" ('v', 'b', '{configuration}', 1, 2, '{kind}', 'gone', '2026-01-01');"
        "CREATE OR REPLACE VIEW failures AS FROM some_failures"
    )
    return tables


def test_what_is_not_measured_yet_is_gone_on_with(tmp_path: Path) -> None:
    run = without_last_visit(tmp_path, LATENCIES_MS, order_seed=3, **ROUNDS)
    advice = advise(Tables(run))
    assert advice.missing == tuple(
        f"{name}: 1 of 2 configurations complete, the rest not measured to the end yet"
        for name in ("Full FT", "LoRA Separate", "LoRA Merged")
    )
    assert advice.next_command.endswith("    # goes on with this run; FILE.toml: the plan small")
    options = typed(advice)
    assert (options.results / options.run_id, options.resume) == (run, True)
    assert (options.plan, options.model, options.order_seed) == ("FILE.toml", "micro", 3)
    assert (options.rounds, options.requests, options.design) == (2, 4, "paired")


@pytest.mark.parametrize(
    "overrides",
    [
        {"rounds": 2, "requests": 4},
        {"rounds": 2, "requests": 4, "order_seed": 3, "design": "independent"},
        {"until_halfwidth": 0.01, "max_rounds": 3, "requests": 5},
        {"design": "independent"},
    ],
)
def test_what_is_gone_on_with_is_the_plan_that_was_begun(tmp_path: Path, overrides: dict[str, Any]) -> None:
    run = without_last_visit(tmp_path, LATENCIES_MS, **overrides)
    options = typed(advise(Tables(run)))
    names = [field.name for field in dataclasses.fields(Overrides)]
    asked = Overrides(**{name: getattr(options, name) for name in names})
    plan, _ = plan_file.load_plan(str(tmp_path / "plan.toml"), strategies.all_traits(), glue_tasks(), asked)
    described = describe("run", plan, GlueLengths(0), MODEL, [], strategies.all_traits())
    assert differences(RunStore.open(run).document, described) == []


def test_what_failed_takes_a_new_run(tmp_path: Path) -> None:
    run = without_last_visit(tmp_path, LATENCIES_MS, failing="lora_merged_sst2_seed42", **ROUNDS)
    advice = advise(Tables(run))
    (missing,) = [line for line in advice.missing if line.startswith("LoRA Merged")]
    assert missing.startswith(
        "LoRA Merged: 0 of 2 configurations complete; lora_merged_sst2_seed42 failed (error: RuntimeError: no such file"
    )
    assert "once the cause is mended: what failed is not tried again, not by --resume either" in advice.next_command
    assert (typed(advice).resume, typed(advice).run_id, typed(advice).rounds) == (False, None, 2)


@pytest.mark.parametrize("kind", sorted(INFRASTRUCTURE))
def test_what_was_lost_with_its_worker_is_gone_on_with_unless_its_round_is_there_without_it(
    tmp_path: Path, kind: str
) -> None:
    run = without_last_visit(tmp_path, LATENCIES_MS, **ROUNDS)
    assert typed(advise(with_failure(run, "lora_merged_sst2_seed42", kind))).resume
    lost = with_failure(run, "lora_merged_sst2_seed42", kind)
    lost.connection.execute(
        "CREATE TABLE some_samples AS FROM samples; CREATE OR REPLACE VIEW samples AS FROM some_samples"
        " WHERE NOT (configuration = 'lora_merged_sst2_seed42' AND round = 0)"
    )
    judge_anew(lost)
    advice = advise(lost)
    assert f"lora_merged_sst2_seed42 failed ({kind}: gone)" in "".join(advice.missing)
    assert not typed(advice).resume


def test_a_strategy_that_is_missing_takes_another_plan(tmp_path: Path) -> None:
    plan = SMALL_PLAN.partition("[[configurations]]")[0]
    advice = advise(Tables(without_last_visit(tmp_path, LATENCIES_MS, plan, **ROUNDS)))  # lacks visits too
    assert "multi_lora: not in this run" in advice.missing
    assert advice.next_command == (
        "raybench sweep --plan rq2 --model micro"
        "    # a new run; or one of a plan of your own that has what is missing here"
    )
    assert typed(advice).plan == "rq2"


def test_a_run_of_one_adapter_takes_the_same_with_one_more(tmp_path: Path) -> None:
    plan = SMALL_PLAN.partition("[[configurations]]")[0]
    tables = Tables(make_run(tmp_path, LATENCIES_MS, plan, **ROUNDS))
    own = ("--adapter", "support=/data/support", "--prompt-tokens", "64")
    tables.description = tables.description.model_copy(update={"written_from": own})
    advice = advise(tables)
    assert advice.missing == ("multi_lora: not in this run, which has one adapter",)
    assert advice.next_command == (
        "raybench sweep --model micro --adapter support=/data/support --adapter OTHER=DIR --prompt-tokens 64 "
        "--rounds 2 --requests 4    # a new run; OTHER=DIR: one more adapter of this base, by its name and folder"
    )
    assert typed(advice).adapter == ["support=/data/support", "OTHER=DIR"]
    several = (*own, "--adapter", "sales=/data/sales")  # which cannot be together: one more would not be, either
    tables.description = tables.description.model_copy(update={"written_from": several})
    assert typed(advise(tables)).plan == "rq2"


def test_a_strategy_in_a_role_is_there_and_not_advised(tmp_path: Path) -> None:
    plan = SMALL_PLAN.replace('strategy = "lora_merged"', 'strategy = "lora_merged"\nrole = "B"')
    advice = advise(Tables(make_run(tmp_path, LATENCIES_MS, plan, rounds=1)))
    assert advice.missing == ("lora_merged: in this run only as B, and advice rests on none of these",)
    assert typed(advice).plan == "rq2"


def test_too_few_requests_take_a_longer_run_which_then_is_long_enough(tmp_path: Path) -> None:
    advice = advise(with_memory(make_run(tmp_path / "short", LATENCIES_MS, rounds=1, requests=44)))
    assert [line.partition(":")[0] for line in advice.missing] == [
        "Full FT",
        "LoRA Separate",
        "LoRA Merged",
        "Multi-adapter (2)",
    ]
    options = typed(advice)
    assert (options.rounds, options.requests, options.resume) == (4, 44, False)
    longer = make_run(tmp_path / "longer", LATENCIES_MS, rounds=options.rounds, requests=options.requests)
    assert advise(with_memory(longer)).missing == ()


def test_an_adaptive_run_gets_longer_by_its_rounds_requests(tmp_path: Path) -> None:
    run = make_run(tmp_path, LATENCIES_MS, requests=4, until_halfwidth=0.01, max_rounds=2, design="independent")
    options = typed(advise(with_memory(run)))
    assert (options.until_halfwidth, options.max_rounds, options.rounds) == (0.01, 2, None)
    assert (options.requests, options.design) == (88, "independent")


def test_an_adaptive_run_may_end_after_fewer_rounds_than_this_took(tmp_path: Path) -> None:
    run = make_run(tmp_path, LATENCIES_MS, requests=2, until_halfwidth=0.01, max_rounds=25)
    needed = 130  # requests of each for a p95
    assert typed(advise(with_memory(run))).requests == math.ceil(needed / 20)


def test_a_number_that_a_complete_run_has_not_takes_a_new_run(short_run: Path) -> None:
    advice = advise(Tables(short_run))
    assert "LoRA Separate: adapter_load_ns was not measured" in advice.missing
    assert "once its strategy reports that number: --resume measures nothing again" in advice.next_command
    assert not typed(advice).resume


def test_prepared_files_are_named_only_for_their_own_plan(short_run: Path) -> None:
    tables = Tables(short_run)
    prepared = tables.description.model.model_copy(
        update={"name": "files", "kind": "prepared", "location": "/models/files"}
    )
    tables.description = tables.description.model_copy(update={"model": prepared})
    assert typed(advise(tables)).model == "/models/files"
    tables.connection.execute(
        "CREATE TABLE all_of_them AS FROM configurations; CREATE OR REPLACE VIEW configurations AS FROM all_of_them"
        " WHERE strategy <> 'full_ft'"
    )
    assert typed(advise(tables)).model is None


def test_with_advice_it_is_the_run_s_own_tables(known_tables: Tables) -> None:
    command = advise(known_tables).next_command
    assert command == f"raybench tables {known_tables.root}    # all numbers behind this"
