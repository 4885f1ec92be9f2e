"""No comparison turns a number; what is not settled is said, and only that."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from decide.advising import MB, NEEDS, advise, as_if, by_way, or_more, with_memory
from raybench.analysis.tables import Tables
from raybench.decide.capacity import STRATEGIES
from raybench.decide.choice import best_of, may_be_better
from raybench.decide.command import decide
from raybench.decide.evidence import Evidence
from raybench.decide.needs import Needs
from raybench.decide.telling import PAIRS, comparisons_of, slack

ROUNDS = 3
FACTORS = st.fixed_dictionaries({(name, r): st.floats(0.6, 1.6) for name in STRATEGIES for r in range(ROUNDS)})
ASKED = st.builds(
    Needs,
    tasks=st.integers(1, 30),
    gpu_memory_bytes=st.integers(1050, 6000).map(lambda megabytes: megabytes * MB),
    slo_p95_s=st.floats(0.004, 0.08),
    requests_per_second=st.floats(1, 900),
    switches=st.none() | st.floats(0, 1),
)


def numbers(way: Any) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(way).items() if key != "growth"}


def test_what_cannot_be_told_from_a_slow_strategy_is_planned_with_its_own_numbers(known_tables: Tables) -> None:
    """Several adapters are slow and vary, so they cannot be told from merged; that is faster than separate."""
    slow = {("multi_lora", r): factor for r, factor in enumerate((0.5, 1.0, 6.0))}
    tables = as_if(with_memory(known_tables.root), slow)
    rows = tables.rows("SELECT deployment, reference_strategy, verdict FROM by_strategy WHERE clock = 'wall'")
    verdicts = {(r["deployment"], r["reference_strategy"]): r["verdict"] for r in rows}
    assert verdicts["LoRA Merged", "lora_separate"] == "faster"
    assert verdicts["Multi-adapter (2)", "lora_separate"] == "inconclusive"
    needs = {"tasks": 1, "slo_p95_s": 0.05, "requests_per_second": 190.0}
    advice, alone = advise(tables, **needs), advise(known_tables, **needs)
    ways = by_way(advice)
    assert ways["multi_adapter"].gpus is not None
    assert ways["multi_adapter"].gpus >= 10
    assert numbers(ways["merged"]) == numbers(by_way(alone)["merged"])
    assert (advice.way, advice.gpus, ways["merged"].p95_s) == ("merged", 1, 0.00402)
    assert advice.sentence.startswith("Merge: 1 GPU for 1 task at 190 requests/s within p95 50 ms.")


@settings(max_examples=5)
@given(FACTORS, ASKED, st.sampled_from(["inconclusive", "equivalent", "slower", "gone"]))
def test_no_comparison_turns_a_number(
    known_tables: Tables, factors: dict[Any, float], asked: Needs, verdict: str
) -> None:
    """Over random runs and needs: each way needs what its own samples say, whatever it can be told from."""
    tables = as_if(with_memory(known_tables.root), factors)
    advice = decide(tables, asked)
    for way in advice.ways:
        assert or_more(way.gpus_least) <= or_more(way.gpus) <= or_more(way.gpus_most)
    assert or_more(advice.gpus) == min(or_more(way.gpus) for way in advice.ways)
    run = Evidence(tables)
    if verdict == "gone":
        tables.connection.execute("DELETE FROM by_strategy")
    else:
        tables.connection.execute(f"UPDATE by_strategy SET verdict = '{verdict}', low = 0.5, high = 2")
    other = decide(tables, asked)
    assert list(map(numbers, other.ways)) == list(map(numbers, advice.ways))
    assert (other.way, other.gpus, other.gpus_least, other.gpus_most) == (
        advice.way,
        advice.gpus,
        advice.gpus_least,
        advice.gpus_most,
    )
    alone = {one.way.name: one for one in run.measured()}
    for way in other.ways:
        own = run.services[way.strategy]
        carried = own.requests_per_second(alone[way.way].switch_ns, asked.switch_share, round(asked.slo_p95_s * 1e9))
        assert way.requests_per_second_per_gpu == carried


@settings(max_examples=5)
@given(FACTORS, ASKED)
def test_another_way_is_named_only_where_the_interval_of_the_two_allows_it(
    known_tables: Tables, factors: dict[Any, float], asked: Needs
) -> None:
    tables = as_if(with_memory(known_tables.root), factors)
    run = Evidence(tables)
    measured, compared = run.measured(), comparisons_of(tables, run.rows)
    best = best_of([one.result(asked) for one in measured])
    if best is None:
        return
    order = [one.way.name for one in measured]
    chosen = measured[order.index(best.way)]
    named = may_be_better(best, measured, asked, compared)
    sure = {pair: dataclasses.replace(c, low=c.ratio, high=c.ratio) for pair, c in compared.items()}
    assert may_be_better(best, measured, asked, sure) == ()  # without an interval there is nothing to be unsure of
    for one in measured:
        factor = slack(compared, one.way.strategy, chosen.way.strategy)
        first = order.index(one.way.name) < order.index(best.way)
        within = [1.0] if factor == 1 else [1 / factor, factor**-0.5, 1.0] if math.isfinite(factor) else [0.0, 1.0]
        wins = [
            gpus is not None and (gpus < (best.gpus or 0) or (gpus == best.gpus and first))
            for gpus in (one.gpus(asked, share) for share in within)
        ]
        assert one.way.name in named or not any(wins)
    assert best.way not in named
    if named:
        assert "Which way is not settled" in decide(tables, asked).sentence


def test_a_pair_that_was_never_compared_is_not_settled_where_it_matters(known_tables: Tables) -> None:
    needs = {"tasks": 40, "requests_per_second": 400.0}
    tables = with_memory(known_tables.root)
    known = advise(tables, **needs)
    assert (known.way, known.may_be_better) == ("multi_adapter", ())
    tables.connection.execute("DELETE FROM by_strategy")
    unknown = advise(tables, **needs)
    assert (unknown.way, unknown.gpus) == (known.way, known.gpus)
    assert "separate_swapped" in unknown.may_be_better
    assert not unknown.settled


def test_every_pair_is_looked_at_once() -> None:
    assert len({frozenset(pair) for pair in PAIRS}) == len(PAIRS) == 6
    assert NEEDS.tasks == 3
