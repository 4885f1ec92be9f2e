"""Samples are counted one way: what was planned, what status says, what the tables hold."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from generated_runs import batched, even_cost, generated, load_generated
from raybench.analysis.tables import Tables
from raybench.plan.plan import Plan
from raybench.report import Screen
from raybench.report.tables import print_everything
from raybench.store.store import RunStore
from raybench.sweep.counted import Counted, timed_samples
from raybench.sweep.status import read
from runs import measure

MS = 1_000_000


def counted(root: Path) -> int:
    store = RunStore.open(root)
    return timed_samples(store.description, store.read("loads").to_pylist()).samples


@pytest.fixture
def costs(known_latencies: Callable[..., None]) -> None:
    known_latencies(
        {
            name: lambda tokens, calls: (MS, MS, None)
            for name in ("full_ft", "lora_separate", "lora_merged", "multi_lora")
        }
    )


@pytest.mark.usefixtures("costs")
@pytest.mark.parametrize("given", [{"rounds": 2}, {"rounds": 3, "requests": 5}, {"design": "independent"}])
def test_a_complete_run_has_as_many_everywhere(
    load_plan: Callable[..., Plan], tmp_path: Path, given: dict[str, Any]
) -> None:
    plan = load_plan(**given)
    root = measure(plan, tmp_path)
    tables = Tables(root)
    assert counted(root) == plan.expected_samples() == RunStore.open(root).timed_samples() == read(root).samples
    assert tables.rows("SELECT count(*) AS n FROM timed") == [{"n": plan.expected_samples()}]
    own = tables.rows("SELECT sum(n) AS n FROM by_configuration")[0]["n"]
    assert own == plan.rounds * plan.requests * len(plan.configurations)
    assert read(root).guest_samples == plan.guest_samples() == counted(root) - own
    assert tables.rows("SELECT sum(n) AS n FROM deployments")[0]["n"] == own


def test_in_words_guests_are_named_where_there_are_any() -> None:
    assert [Counted(*numbers).words() for numbers in ((1_240, 30), (210, 0), (1, 0))] == [
        *("1,240 samples (30 of guests)", "210 samples", "1 sample"),
    ]


@pytest.mark.usefixtures("costs")
def test_a_run_that_was_broken_off_has_those_that_are_there(load_plan: Callable[..., Plan], tmp_path: Path) -> None:
    root = measure(load_plan(rounds=3, requests=5), tmp_path, visits=5)
    assert counted(root) == RunStore.open(root).timed_samples() > 0


@pytest.mark.usefixtures("known_latencies")
def test_what_failed_in_a_visit_has_none_of_it(
    known_latencies: Callable[..., None], load_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    def broken(tokens: int, calls: int) -> tuple[int, int, None]:
        if calls > 3:
            raise RuntimeError("no luck")
        return MS, MS, None

    known_latencies({name: lambda tokens, calls: (MS, MS, None) for name in ("full_ft", "lora_separate", "multi_lora")})
    known_latencies({"lora_merged": broken})
    root = measure(load_plan(rounds=2), tmp_path)
    assert counted(root) == RunStore.open(root).timed_samples()


@pytest.mark.parametrize("routing", ["round_robin", "blocked", "mixed", "uniform", "zipf"])
def test_guests_have_what_their_hosts_serve_for_them(tmp_path: Path, routing: str) -> None:
    text = batched([2]).replace('strategy = "multi_lora"', f'strategy = "multi_lora"\nrouting = "{routing}"')
    plan = load_generated(tmp_path, text, rounds=3, requests=7)
    root = generated(plan, tmp_path, even_cost)
    assert counted(root) == plan.expected_samples() == RunStore.open(root).timed_samples()


@pytest.mark.usefixtures("costs")
def test_words_are_explained_where_they_are_met(load_plan: Callable[..., Plan], tmp_path: Path) -> None:
    out = io.StringIO()
    print_everything(Tables(measure(load_plan(), tmp_path)), Screen(out, width=180))
    assert "A visit: one block in one round, in a process of its own; a block: configurations that are compared" in (
        out.getvalue()
    )
