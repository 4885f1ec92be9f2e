"""What each way needs: at its edges, monotone in what is asked, enough for any split, as docs/decide.md says."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decide.advising import MS, advise, by_way, or_more
from raybench.analysis.stats import Estimate
from raybench.analysis.tables import Tables
from raybench.decide.advice import WayResult
from raybench.decide.capacity import WAYS, Measured, gpus_needed
from raybench.decide.needs import Needs
from raybench.decide.queueing import Service

SURE = Estimate(0.0, 1e-6, 9, 10)


def only(walls: np.ndarray) -> Service:
    """Wall times, each counting alike."""
    return Service(walls, np.full(walls.size, 1 / walls.size))


def test_what_breaks_first_breaks_exactly_there(known_tables: Tables) -> None:
    def merged(**changes: Any) -> WayResult:
        return by_way(advise(known_tables, **changes))["merged"]

    now = merged(requests_per_second=100.0)
    assert now.growth is not None
    assert (now.growth.tasks_at, now.growth.first) == (5, "tasks")  # 2 GPUs of 2 tasks each
    assert (merged(tasks=4).gpus, merged(tasks=5).gpus) == (2, 3)
    edge = now.growth.requests_per_second_above
    assert edge == pytest.approx(2 * now.requests_per_second_per_gpu, rel=1e-12)
    assert (merged(requests_per_second=edge).gpus, merged(requests_per_second=edge * 1.0001).gpus) == (2, 3)
    assert merged(requests_per_second=edge / 1.01).growth.first == "load"  # type: ignore[union-attr]
    swapped = by_way(advise(known_tables))["separate_swapped"].growth
    assert swapped is not None
    assert (swapped.tasks_at, swapped.first) == (None, "load")
    most = by_way(advise(known_tables, tasks=10**9))["merged"]
    assert most.growth is not None
    assert (most.gpus, most.growth.tasks_at) == (10**9 // 2, None)


@pytest.mark.parametrize(
    ("changes", "binds"),
    [
        ({"tasks": 2}, "nothing"),
        ({"tasks": 3}, "memory"),
        ({"tasks": 2, "requests_per_second": 400.0}, "load"),
        ({"tasks": 4, "requests_per_second": 400.0}, "memory and load"),
    ],
)
def test_what_binds_is_what_would_take_fewer_gpus_if_lifted(
    known_tables: Tables, changes: dict[str, Any], binds: str
) -> None:
    assert by_way(advise(known_tables, **changes))["merged"].binds == binds


@pytest.mark.parametrize(
    ("late", "slo_ms", "feasible", "why_not"),
    [
        (4, 5, True, None),
        (5, 5, False, "slo: p95 1 ms leaves no time to wait"),
        (6, 5, False, "slo: p95 10 ms is above it"),
        (6, 10, True, None),  # exactly at the SLO is in time
    ],
)
def test_five_percent_of_requests_above_the_slo_by_themselves_are_too_many(
    late: int, slo_ms: int, feasible: bool, why_not: str | None
) -> None:
    walls = np.array([1 * MS] * (100 - late) + [10 * MS] * late)
    way = Measured(WAYS[0], each=1, beside=0, switch_ns=0, service=only(walls), speed=SURE)
    found = way.result(Needs(1, 10, slo_ms / 1e3, 1.0))
    assert (found.feasible, found.why_not) == (feasible, why_not)
    text = " ".join((Path(__file__).parents[2] / "docs" / "decide.md").read_text().split())
    assert "where that is 5 % or more, no load is carried" in text


# Monotone in its inputs

MEASURED = st.builds(
    lambda way, each, beside, switch_ns, walls, error: Measured(
        way,
        0 if way.sharing == "swap" else each,
        beside,
        switch_ns,
        only(np.sort(np.array(walls))),
        Estimate(0.0, error, 5, 6) if error else Estimate(0.0, math.inf, 0, 1, unknown="one visit"),
    ),
    st.sampled_from(WAYS),
    st.integers(1, 50),
    st.integers(0, 50),
    st.integers(0, 200 * MS),
    st.lists(st.integers(1 * MS, 80 * MS), min_size=1, max_size=40),
    st.sampled_from([0.0, 1e-4, 0.01, 0.05, 0.3]),
)
ASKED = st.builds(
    Needs,
    tasks=st.integers(1, 60),
    gpu_memory_bytes=st.integers(1, 400),
    slo_p95_s=st.floats(0.001, 1.0),
    requests_per_second=st.floats(0.01, 500.0),
    switches=st.none() | st.floats(0, 1),
)


@settings(max_examples=150)
@given(MEASURED, ASKED, st.integers(1, 40), st.floats(1.0, 4.0), st.integers(1, 200), st.floats(0.2, 1.0))
def test_asking_more_never_takes_fewer_gpus(
    measured: Measured, asked: Needs, tasks: int, load: float, memory: int, slo: float
) -> None:
    now = or_more(measured.gpus(asked))
    harder = {
        "tasks": asked.tasks + tasks,
        "requests_per_second": asked.requests_per_second * load,
        "gpu_memory_bytes": max(1, asked.gpu_memory_bytes - memory),
        "slo_p95_s": asked.slo_p95_s * slo,
    }
    for name, value in harder.items():
        assert or_more(measured.gpus(dataclasses.replace(asked, **{name: value}))) >= now, name
    if asked.switches is not None:
        assert or_more(measured.gpus(dataclasses.replace(asked, switches=1.0))) >= now
    assert or_more(measured.gpus(dataclasses.replace(asked, **harder))) >= now


@settings(max_examples=150)
@given(MEASURED, ASKED)
def test_the_number_lies_within_what_the_way_s_own_interval_allows(measured: Measured, asked: Needs) -> None:
    way = measured.result(asked)
    assert or_more(way.gpus_least) <= or_more(way.gpus) <= or_more(way.gpus_most)
    assert way.p95_low_s <= way.p95_s <= way.p95_high_s
    assert way.is_settled == (way.gpus_least == way.gpus_most)
    high = 1 + measured.speed.halfwidth()
    for factor, gpus in ((1 / high, way.gpus_least), (high, way.gpus_most)):
        if 0 < factor < math.inf:
            # As if the run had measured those times.
            times = Service(measured.service.wall_ns * factor, measured.service.weights)
            assert gpus == dataclasses.replace(measured, service=times, carried={}).gpus(asked)


@settings(max_examples=100)
@given(MEASURED, ASKED)
def test_as_many_rounds_as_are_said_settle_it_and_one_less_does_not(measured: Measured, asked: Needs) -> None:
    way = measured.result(asked)
    if way.is_settled:
        assert way.more_rounds == 0
    elif way.more_rounds is not None:
        error, n = measured.speed.standard_error, measured.speed.n

        def after(rounds: int) -> bool:
            later = Estimate(0.0, error * math.sqrt(n / (n + rounds)), n + rounds - 1, n + rounds)
            least, most = measured.gpus_between(asked, later)
            return least == most

        assert after(way.more_rounds)
        assert not after(way.more_rounds - 1)


@settings(max_examples=60)
@given(MEASURED, ASKED, st.floats(1.0, 4.0), st.floats(0.2, 1.0))
def test_both_ends_are_monotone_too(measured: Measured, asked: Needs, load: float, slo: float) -> None:
    now = measured.gpus_between(asked, measured.speed)
    for name, value in {
        "tasks": asked.tasks + 5,
        "requests_per_second": asked.requests_per_second * load,
        "slo_p95_s": asked.slo_p95_s * slo,
    }.items():
        harder = measured.gpus_between(dataclasses.replace(asked, **{name: value}), measured.speed)
        assert [or_more(a) >= or_more(b) for a, b in zip(harder, now, strict=True)] == [True, True], name


# GPUs for any split of the load


def pack(loads: list[Fraction], places: int) -> list[list[tuple[Fraction, int]]]:
    """Put parts of ``loads`` on GPUs that carry 1 each in ``places`` parts, as the proof in docs/decide.md does.

    A part is (load, task); task -1 is one that the proof adds.
    """
    gpus = []
    left = sorted((load, task) for task, load in enumerate(loads))
    while left:
        by_load = max(1, math.ceil(sum(load for load, _ in left)))
        fits = sum(load for load, _ in left[:places]) <= 1
        if fits and (gpus_needed(len(left), by_load, places) > by_load or len(left) <= places):
            gpus.append(left[:places])
            left = left[places:]
            continue
        left = sorted([*left, *[(Fraction(0), -1)] * ((places - 1) * by_load + 1 - len(left))])
        load, task = left[-1]
        left[-1] = (load + by_load - sum(load for load, _ in left), task)
        whole, rest = left[: places - 1], left[places - 1 :]
        for _ in range(places):
            part = 1 - sum(load for load, _ in whole)
            if rest[-1][0] >= part:
                break
            whole, rest = [*whole[1:], rest[-1]], sorted([*rest[:-1], whole[0]])
        load, task = rest[-1]
        gpus.append([*whole, (part, task)])
        left = sorted(one for one in [*rest[:-1], (load - part, task)] if one[0])
    return gpus


@settings(max_examples=300)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=14), st.integers(1, 5), st.integers(5, 60))
def test_the_gpus_suffice_however_the_load_is_split(parts: list[int], places: int, scale: int) -> None:
    loads = [Fraction(part, scale) for part in parts]
    gpus = pack(loads, places)
    assert len(gpus) <= gpus_needed(len(loads), max(1, math.ceil(sum(loads))), places)
    assert all(sum(load for load, _ in gpu) <= 1 and len(gpu) <= places for gpu in gpus)
    assert all(load >= 0 for gpu in gpus for load, _ in gpu)
    for task, load in enumerate(loads):
        assert sum(part for gpu in gpus for part, served in gpu if served == task) >= load


@pytest.mark.parametrize(("tasks", "by_load", "places"), [(1, 1, 1), (40, 1, 6), (40, 2, 6), (7, 3, 2), (3, 9, 1)])
def test_the_worst_split_needs_them_all(tasks: int, by_load: int, places: int) -> None:
    # One task has all the load: a place on by_load GPUs; each other task one place.
    fewer = gpus_needed(tasks, by_load, places) - 1
    assert fewer * places < tasks - 1 + by_load or fewer < by_load


# As docs/decide.md says


def test_the_docs_example_is_what_the_rule_says() -> None:
    text = (Path(__file__).parents[2] / "docs" / "decide.md").read_text()
    example = Measured(WAYS[0], each=10, beside=4, switch_ns=0, service=only(np.array([10 * MS])), speed=SURE)
    way = example.result(Needs(40, 64, 0.04, 70.0, gpu_price=0.8))
    assert (way.tasks_per_gpu, way.gpus_by_load, way.gpus, way.binds) == (6, 2, 7, "memory")
    assert way.growth is not None
    assert (way.growth.tasks_at, way.growth.first) == (42, "tasks")
    assert f"rho = {way.requests_per_second_per_gpu / 100:.4f}" in text
    assert f"{way.requests_per_second_per_gpu:.2f} requests/s" in text
    assert f"x 10^6 = {way.cost_per_million_requests:.2f} for a million" in text
    assert f"= {way.growth.requests_per_second_above:.1f} requests/s. Tasks break first: 42 / 40" in text
    for call in ("gpus_needed(40, 1, 6) = 7", "gpus_needed(40, 2, 6) = 7", "gpus_needed(40, 2, 1) = 41"):
        assert call in text
    assert (gpus_needed(40, 1, 6), gpus_needed(40, 2, 6), gpus_needed(40, 2, 1)) == (7, 7, 41)
