"""The sentence says the range where the interval spans a decision, and what would settle it."""

from __future__ import annotations

import pytest

from decide.advising import advise, as_if, by_way, with_memory
from raybench.analysis.tables import Tables
from raybench.decide.headline import gpu_range
from raybench.decide.next_step import next_command

UNEVEN = {
    (name, r): f
    for name in ("full_ft", "lora_merged", "lora_separate", "multi_lora")
    for r, f in enumerate((0.97, 1.0, 1.03))
}


@pytest.fixture(scope="module")
def uneven(known_tables: Tables) -> Tables:
    """Visits differ by 3 %, all strategies alike: speeds are unsure, ratios are not."""
    return as_if(with_memory(known_tables.root), UNEVEN)


def test_where_the_interval_spans_two_numbers_the_headline_says_both_and_what_would_settle_it(uneven: Tables) -> None:
    edge = by_way(advise(uneven, tasks=1))["merged"].requests_per_second_per_gpu
    advice = advise(uneven, tasks=1, requests_per_second=edge * 0.98)
    way = by_way(advice)["merged"]
    assert (advice.way, advice.gpus, advice.gpus_least, advice.gpus_most, advice.settled) == ("merged", 1, 1, 2, False)
    assert way.more_rounds is not None
    assert advice.sentence.startswith("Merge: 1 to 2 GPUs for 1 task at ")
    assert f": not settled; about {way.more_rounds} more rounds would." in advice.sentence
    assert f"--rounds {3 + way.more_rounds} " in advice.next_command
    assert "    # settles how many GPUs; a new run: one that was begun keeps its length" in advice.next_command
    sure = advise(uneven, tasks=1, requests_per_second=edge * 0.7)
    assert (sure.gpus_least, sure.gpus_most, sure.settled) == (1, 1, True)
    assert sure.sentence.startswith("Merge: 1 GPU for 1 task at ")
    assert sure.next_command.endswith("    # all numbers behind this")


def test_near_the_slo_a_way_may_not_be_feasible_at_all(uneven: Tables) -> None:
    p95 = by_way(advise(uneven, tasks=1))["merged"].p95_s
    near = advise(uneven, tasks=1, requests_per_second=0.1, slo_p95_s=p95 * 1.01)
    assert (near.way, near.gpus, near.gpus_most) == ("merged", 1, None)
    assert near.sentence.startswith("Merge: 1 GPU or more for 1 task")
    beyond = advise(uneven, tasks=1, requests_per_second=0.1, slo_p95_s=p95 * 0.97)
    assert beyond.way is None
    assert not beyond.settled
    assert "see each way. " in beyond.sentence
    assert "may within its interval, on 1 GPU: not settled; about " in beyond.sentence
    assert "none, or 1 GPU" in {gpu_range(way) for way in beyond.ways}


def test_visits_that_tell_no_spread_leave_the_number_open(known_tables: Tables) -> None:
    tables = with_memory(known_tables.root)
    tables.connection.execute("CREATE TABLE one_round AS FROM timed WHERE round = 0")
    tables.connection.execute(
        "CREATE OR REPLACE VIEW timed AS SELECT * REPLACE (r AS round) FROM one_round, range(3) AS t(r)"
    )
    advice = advise(tables, tasks=1)  # the same visit three times
    assert (advice.gpus, advice.gpus_least, advice.gpus_most) == (1, 1, None)
    assert (
        "not settled, for the visits are equal to the last digit: a clock too coarse, or a made-up run"
        in advice.sentence
    )
    assert by_way(advice)["merged"].no_interval == "equal visits"
    assert next_command(tables, [], advice.ways[0], advice.ways).endswith("    # all numbers behind this")
