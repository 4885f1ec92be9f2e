"""What is shown of a run while it goes on is what its tables say once it is over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from generated_runs import batched, even_cost, generated, load_generated
from raybench.analysis.running import RunningRatios, RunningRow
from raybench.analysis.tables import Tables, Views
from raybench.plan.plan import Plan
from raybench.store.store import RunStore
from runs import go_on, measure

MS = 1_000_000
Known = Callable[..., None]


@pytest.fixture
def run_of(known_latencies: Known, load_plan: Callable[..., Plan], tmp_path: Path) -> Callable[..., Any]:
    """A run in which each strategy takes its time, a little more or less from request to request."""
    costs = {"full_ft": 4, "lora_separate": 5, "lora_merged": 4.02, "multi_lora": 5.5}
    known_latencies(
        {
            name: lambda tokens, calls, ms=ms: (MS, int(ms * MS) + (calls * 7919 + tokens * 104729) % 99_991, None)
            for name, ms in costs.items()
        }
    )
    return lambda visits=None, devices=1, **given: measure(load_plan(**given), tmp_path, devices=devices, visits=visits)


def fed(ratios: RunningRatios, root: Path, at_once: int, leaving_out: int = 0) -> list[RunningRow]:
    """What ``ratios`` says after the run's visits, so many of which it is given at once; not the first few."""
    store = RunStore.open(root)
    samples, visits = store.read("samples"), store.read("visits").sort_by("started_at").to_pylist()
    for place, visit in enumerate(visits[leaving_out:], 1):
        ratios.take(samples.filter(pc.equal(samples["visit"], visit["visit"])), visit["device"])
        if place % at_once == 0:
            ratios.rows()
    return ratios.rows()


def told(root: Path, measure: str = "end_to_end") -> dict[tuple[str, str], tuple[Any, ...]]:
    rows = Tables(root).rows(f"FROM by_strategy WHERE clock = 'wall' AND measure = '{measure}' AND ratio IS NOT NULL")
    return {
        (row["deployment"], row["reference_strategy"]): tuple(row[key] for key in ("n", "ratio", "low", "high"))
        for row in rows
    }


def shown(rows: list[RunningRow]) -> dict[tuple[str, str], tuple[Any, ...]]:
    return {
        (row.deployment, reference): (row.n, estimate.ratio, *estimate.interval())
        for row in rows
        for reference, estimate in row.against.items()
    }


def new(root: Path) -> RunningRatios:
    store = RunStore.open(root)
    return RunningRatios(store.document, store.description.plan)


@pytest.mark.parametrize(("at_once", "devices"), [(1, 1), (4, 1), (100, 1), (2, 3)])
def test_visit_by_visit_the_ratios_are_those_of_the_tables(
    run_of: Callable[..., Any], at_once: int, devices: int
) -> None:
    root = run_of(rounds=6, devices=devices)
    expected = told(root)
    found = shown(fed(new(root), root, at_once))
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key] == pytest.approx(row, rel=1e-12)


def test_after_some_rounds_they_are_those_of_a_run_of_as_many(
    run_of: Callable[..., Any], load_plan: Callable[..., Plan]
) -> None:
    root = run_of(rounds=4, visits=6)  # two rounds of three blocks
    halfway = shown(fed(new(root), root, 1))
    assert {row[0] for row in halfway.values()} == {16, 8}
    go_on(load_plan(rounds=4), root)
    taken_up = new(root)
    taken_up.take_up(Views(root))
    found = shown(taken_up.rows())
    for key, row in told(root).items():
        assert found[key] == pytest.approx(row, rel=1e-12)
        assert halfway[key] != found[key]


def test_a_run_that_is_gone_on_with_begins_with_what_it_has(
    run_of: Callable[..., Any], load_plan: Callable[..., Plan]
) -> None:
    root = run_of(rounds=4, visits=6)
    ratios = new(root)
    ratios.take_up(Views(root))
    go_on(load_plan(rounds=4), root)
    found = shown(fed(ratios, root, 1, leaving_out=6))
    for key, row in told(root).items():
        assert found[key] == pytest.approx(row, rel=1e-12)


def test_one_visit_has_no_interval_and_nothing_has_no_ratio(run_of: Callable[..., Any]) -> None:
    root = run_of(rounds=4, visits=1)
    ratios = new(root)
    assert [(row.n, dict(row.against)) for row in ratios.rows()] == [(0, {})] * 4
    estimates = [estimate for row in fed(ratios, root, 1) for estimate in row.against.values()]
    assert estimates
    assert {estimate.unknown for estimate in estimates} == {"one visit"}


def test_of_a_language_model_it_is_the_whole_request(tmp_path: Path) -> None:
    root = generated(load_generated(tmp_path, batched([1, 8])), tmp_path, even_cost)
    found = shown(fed(new(root), root, 1))
    expected = told(root)
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key] == pytest.approx(row, rel=1e-12)


def test_the_independent_design_has_no_ratios_until_its_end(run_of: Callable[..., Any]) -> None:
    root = run_of(rounds=None, design="independent", requests=8)
    rows = fed(new(root), root, 1)
    assert [row.n for row in rows] == [32, 32, 32, 16]
    assert shown(rows) == {}
