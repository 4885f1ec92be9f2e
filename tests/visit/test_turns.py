"""Schedules and turns, on a device whose time is known."""

from __future__ import annotations

import dataclasses
import gc
import itertools
from collections import Counter
from typing import Any

import pytest

from fake_device import FakeDevice, Output
from raybench.model.prompts import Prompts
from raybench.model.workload import Request
from raybench.schemas import SAMPLES
from raybench.visit.serving import Server
from raybench.visit.turns import Identity, Step, Subject, schedule, take_turns

IDENTITY = Identity("b/r00", "b", 0)


def subject(name: str, cost: tuple[int, int, int | None] = (1, 2, None), count: int = 6, **extra: Any) -> Subject:
    requests = extra.pop("requests", tuple(Request("mrpc", i, 10 + i) for i in range(count)))
    switch = extra.pop("switch", None)
    return Subject(name, Server(lambda **_: Output(cost), **extra), requests, switch)


def inputs(count: int = 6, task: str = "mrpc") -> dict[tuple[str, int], Prompts]:
    return {(task, i): Prompts({}, (task,), 0) for i in range(count)}


def run(subjects: list[Subject], device: FakeDevice, steps: list[Step] | None = None, **options: Any) -> list[dict]:
    steps = steps or schedule(subjects, 0, 1, [0])
    options.setdefault("on_turn", lambda s: None)
    options.setdefault("on_error", lambda s, error: pytest.fail(str(error)))
    batches = take_turns(subjects, steps, options.pop("inputs", inputs()), device, IDENTITY, **options)
    return [row for batch in batches for row in batch.to_pylist()]


def test_every_subject_meets_every_request_once_after_its_warmups_and_each_turn_has_one_opener() -> None:
    subjects = [subject("a"), subject("b"), subject("c")]
    steps = schedule(subjects, warmups=2, turn_requests=2, seed=[7])
    assert [s.phase for s in steps[:6]] == ["warmup"] * 6
    assert Counter(s.subject for s in steps if s.phase == "warmup") == {0: 2, 1: 2, 2: 2}
    for index in range(3):
        timed = [s.request.index for s in steps if s.subject == index and s.phase == "timed"]
        assert sorted(timed) == list(range(6))
    turns: dict[int, list[Step]] = {}
    for step in steps[6:]:
        turns.setdefault(step.turn, []).append(step)
    assert len(turns) == 9
    for turn in turns.values():
        assert [s.phase for s in turn] == ["opener", "timed", "timed"]
        assert len({s.subject for s in turn}) == 1
        before = (turn[1].request.index - 1) % 6
        assert turn[0].request.index == before


def firsts(steps: list[Step], subjects: int) -> list[int]:
    return [s.subject for s in steps if s.phase == "timed"][::subjects]


def test_turns_are_drawn_from_the_seed_and_in_each_pair_of_laps_each_of_two_is_first_once() -> None:
    subjects = [subject("a", count=60), subject("b", count=60)]
    drawn = firsts(schedule(subjects, 0, 1, [1]), 2)
    assert drawn == firsts(schedule(subjects, 0, 1, [1]), 2)
    assert drawn != firsts(schedule(subjects, 0, 1, [2]), 2)
    assert [sum(drawn[i : i + 2]) for i in range(0, 60, 2)] == [1] * 30
    assert len({tuple(drawn[i : i + 2]) for i in range(0, 60, 2)}) == 2


def test_the_balance_goes_on_from_round_to_round() -> None:
    subjects = [subject(name, count=5) for name in "abc"]
    rounds = [schedule(subjects, 1, 1, [3], round_index) for round_index in range(6)]
    # Five laps a round and six in a square: only the 30 of all rounds are balanced, and they are.
    assert Counter(first for steps in rounds for first in firsts(steps, 3)) == {0: 10, 1: 10, 2: 10}
    assert Counter(steps[0].subject for steps in rounds) == {0: 2, 1: 2, 2: 2}


def test_warm_ups_are_taken_in_turn() -> None:
    steps = schedule([subject(name) for name in "abc"], 2, 1, [7])[:6]
    assert [step.phase for step in steps] == ["warmup"] * 6
    assert [step.subject for step in steps[:3]] == [step.subject for step in steps[3:]]
    assert [step.request.index for step in steps] == [0, 0, 0, 1, 1, 1]


def test_of_guests_that_are_not_in_every_lap_each_is_first_as_often_as_its_host() -> None:
    host = subject("host", count=16)
    guests = [subject(f"guest{k}", requests=tuple(Request("mrpc", i, 10) for i in range(k, 16, 2))) for k in range(2)]
    drawn = firsts(schedule([host, *guests], 0, 1, [0]), 2)
    assert Counter(drawn[::2]) == {0: 4, 1: 4}
    assert Counter(drawn[1::2]) == {0: 4, 2: 4}


def test_a_subject_with_fewer_requests_takes_turns_only_where_it_has_one() -> None:
    guest = subject("guest", requests=(Request("mrpc", 0, 10), Request("mrpc", 2, 12)))
    steps = schedule([subject("host", count=4), guest], 0, 1, [0])
    assert [s.request.index for s in steps if s.subject == 1 and s.phase == "timed"] == [0, 2]


@pytest.fixture
def fake_device() -> FakeDevice:
    return FakeDevice()


def test_the_known_times_of_each_clock_come_out_exactly(fake_device: FakeDevice) -> None:
    rows = run([subject("a", (30, 50, 20)), subject("b", (5, 9, None))], fake_device)
    timed = [r for r in rows if r["phase"] == "timed"]
    assert {(r["host_ns"], r["wall_ns"], r["device_ns"]) for r in timed if r["configuration"] == "a"} == {(30, 50, 20)}
    assert {(r["host_ns"], r["wall_ns"], r["device_ns"]) for r in timed if r["configuration"] == "b"} == {(5, 9, None)}
    assert [r["sequence"] for r in rows] == list(range(24))
    assert rows[0]["started_ns"] == 0
    starts = [r["started_ns"] for r in rows]
    assert [b - a for a, b in itertools.pairwise(starts)] == [r["wall_ns"] for r in rows[:-1]]


def test_the_adapter_is_switched_before_each_request_and_timed_apart(fake_device: FakeDevice) -> None:
    switched: list[str] = []

    def switch(name: str) -> None:
        switched.append(name)
        fake_device.now_ns += 11

    requests = tuple(Request(("mrpc", "sst2")[i % 2], i, 10) for i in range(4))
    adapters = {"mrpc": "m", "sst2": "s"}
    one = subject("multi", (3, 4, None), requests=requests, adapters=adapters, switch=switch)
    both = {(r.task, r.index): Prompts({}, (r.task,), 0) for r in requests}
    everything = run([one], fake_device, inputs=both)
    rows = [r for r in everything if r["phase"] == "timed"]
    assert [r["adapter"] for r in rows] == ["m", "s", "m", "s"]
    assert [(r["switch_ns"], r["wall_ns"]) for r in rows] == [(11, 4)] * 4
    # Each timed switch is a real one: the request before it had the other adapter.
    assert switched == ["s", "m", "m", "s", "s", "m", "m", "s"]
    assert [r["adapter"] for r in everything] == switched


def test_what_the_switch_knows_an_adapter_by_is_looked_up_before(fake_device: FakeDevice) -> None:
    switched: list[int] = []

    def switch(place: int) -> None:
        switched.append(place)
        fake_device.now_ns += 7

    def handle(name: str) -> int:
        fake_device.now_ns += 1_000
        return {"m": 4, "s": 9}[name]

    requests = tuple(Request(("mrpc", "sst2")[i % 2], i, 10) for i in range(2))
    one = subject("multi", (3, 4, None), requests=requests, adapters={"mrpc": "m", "sst2": "s"}, switch=switch)
    both = {(r.task, r.index): Prompts({}, (r.task,), 0) for r in requests}
    rows = run([dataclasses.replace(one, handle=handle)], fake_device, inputs=both)
    assert {row["switch_ns"] for row in rows} == {7}
    assert switched == [{"m": 4, "s": 9}[row["adapter"]] for row in rows]


def test_an_opener_of_its_own_serves_openers_only(fake_device: FakeDevice) -> None:
    one = subject("a", (3, 40, None), count=3, opener=lambda **_: Output((2, 5, None)))
    rows = run([one, subject("b", (1, 6, None), count=3)], fake_device)
    assert {(r["configuration"], r["phase"], r["wall_ns"]) for r in rows} == {
        ("a", "opener", 5),
        ("a", "timed", 40),
        ("b", "opener", 6),
        ("b", "timed", 6),
    }


def test_samples_leave_between_turns_and_none_is_lost_or_doubled(fake_device: FakeDevice) -> None:
    subjects = [subject("a", (1, 100, None)), subject("b", (1, 100, None))]
    options = {"on_turn": lambda s: None, "on_error": lambda s, e: None}
    steps = schedule(subjects, 1, 1, [0])
    batches = list(take_turns(subjects, steps, inputs(), fake_device, IDENTITY, flush_ns=450, **options))
    assert len(batches) > 3
    assert all(batch.schema.equals(SAMPLES) for batch in batches)
    assert [n for batch in batches for n in batch.column("sequence").to_pylist()] == list(range(len(steps)))


def test_a_subject_that_raises_is_reported_once_and_the_others_go_on(fake_device: FakeDevice) -> None:
    def broken(**_: object) -> Output:
        raise RuntimeError("no")

    bad = Subject("bad", Server(broken), tuple(Request("mrpc", i, 10) for i in range(6)))
    errors: list[tuple[int, str]] = []
    rows = run([subject("good"), bad], fake_device, on_error=lambda s, e: errors.append((s, str(e))))
    assert errors == [(1, "no")]
    assert {r["configuration"] for r in rows} == {"good"}
    assert sum(r["phase"] == "timed" for r in rows) == 6


def test_garbage_collection_is_off_while_requests_are_timed_and_on_again_after(fake_device: FakeDevice) -> None:
    seen: list[bool] = []

    def forward(**_: object) -> Output:
        seen.append(gc.isenabled())
        return Output((1, 1, None))

    run([Subject("a", Server(forward), (Request("mrpc", 0, 1),))], fake_device)
    assert seen == [False, False]
    assert gc.isenabled()


def test_whoever_watches_is_told_whose_turn_it_is(fake_device: FakeDevice) -> None:
    told: list[Step] = []
    subjects = [subject("a", count=3), subject("b", count=3)]
    steps = schedule(subjects, 1, 1, [3])
    run(subjects, fake_device, steps, on_turn=told.append)
    assert [(s.subject, s.phase) for s in told[:2]] == [(0, "warmup"), (1, "warmup")]
    assert told[2:] == [s for s in steps if s.phase == "opener"]
