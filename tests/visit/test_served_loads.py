"""Visits of servers under loads: a real server with a real model, so many requests at once, or each at its moment."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from raybench.plan.load import Load
from raybench.records import RaybenchError
from raybench.visit.served_load import arrivals
from visit.test_served_visit import FULL, OUTPUT, cache, of, spec_of, visited

__all__ = ["cache"]

TWO = "concurrency = [1, 2]\n"


def test_each_load_takes_turns_of_its_own(tmp_path: Path) -> None:
    full = FULL.replace('"full"', '"full_{load}"') + TWO
    several = of("several_{load}", "multi_lora", "a{number}") + TWO
    _, samples, loads, failed = visited(spec_of(tmp_path, full + several))
    assert failed == {}
    assert set(loads) == {"full_c1", "full_c2", "several_c1", "several_c2"}
    assert loads["full_c1"]["load_ns"] == loads["full_c2"]["load_ns"]  # one server for both
    for name in loads:
        own = [row for row in samples if row["configuration"] == name]
        timed = [row for row in own if row["phase"] == "timed"]
        assert [row["request"] for row in timed] == [0, 1, 2, 3]
        at_once = name.endswith("c2")
        phases = [row["phase"] for row in own if row["turn"] == own[-1]["turn"]]
        if at_once:
            # Two under way, each with one request in a turn: two before it, and one beside the last, if that is alone.
            assert phases[:4] == ["opener"] * 2 + ["timed"] * 2
            assert phases[4:] in ([], ["opener"])
        else:
            assert phases == ["opener", "timed"]
        assert len({row["turn"] for row in timed}) == (2 if at_once else 4)
        assert all((row["late_ns"] is not None) == at_once for row in own)
        assert all(row["output_tokens"] == OUTPUT for row in timed)
    by_turn = {row["turn"]: row["configuration"][-2:] for row in samples if row["turn"] >= 0}
    order = [by_turn[turn] for turn in sorted(by_turn)]
    assert order == ["c1"] * 8 + ["c2"] * 4


def test_requests_come_at_a_rate_at_the_same_moments_for_all(tmp_path: Path) -> None:
    rate = "rate_per_s = 20\n"
    _, samples, _, failed = visited(spec_of(tmp_path, FULL + rate + of("separate", "lora_separate", "a1") + rate))
    assert failed == {}
    offsets = arrivals(Load(rate_per_s=20.0), 8 + 4 + 8, [0, 0], 0)
    for name in ("full", "separate"):
        own = [row for row in samples if row["configuration"] == name and row["turn"] >= 0]
        phases = [row["phase"] for row in own]
        first = phases.index("timed")
        assert 1 <= first <= 8
        assert phases[first : first + 4] == ["timed"] * 4
        assert set(phases[:first] + phases[first + 4 :]) == {"opener"}
        due = np.array([row["started_ns"] - row["late_ns"] for row in own])
        assert (due - due[0]).tolist() == (offsets - offsets[0])[: len(own)].tolist()


def test_a_trace_has_no_moments_of_warm_ups_and_may_have_fewer_than_they_are(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, FULL + 'trace = "t.csv"\n')
    played = Load(trace="t.csv", offsets_ns=(0, 20_000_000, 30_000_000, 300_000_000))
    configurations = tuple(dataclasses.replace(c, load=played) for c in spec.configurations)
    spec = dataclasses.replace(spec, configurations=configurations, warmups=6)
    _, samples, _, failed = visited(spec)
    assert failed == {}
    assert [(row["phase"], row["request"]) for row in samples] == [
        *(("warmup", i % 4) for i in range(6)),
        *(("timed", i) for i in range(4)),
    ]
    ended = [row["started_ns"] + row["wall_ns"] for row in samples]
    assert all(row["started_ns"] >= end for row, end in zip(samples[1:6], ended, strict=False))  # one at a time
    due = [row["started_ns"] - row["late_ns"] for row in samples[6:]]
    assert [moment - due[0] for moment in due] == list(played.offsets_ns)


def test_a_server_that_mixes_up_who_is_under_way_together_is_stopped(tmp_path: Path) -> None:
    several = of("several_{load}", "multi_lora", "a{number}") + TWO
    _, _, loads, failed = visited(spec_of(tmp_path, several, "--fault=batch"))
    assert set(loads) == {"several_c1"}  # one at a time it answers as it should
    assert failed["several_c2"].startswith("gate: several_c2: the server chose token ")


def test_arrivals_are_drawn_from_the_seed_and_the_round_or_read() -> None:
    load = Load(rate_per_s=5.0, burstiness=0.5)
    drawn = arrivals(load, 1000, [3, 1], 2)
    assert drawn.tolist() == arrivals(load, 1000, [3, 1], 2).tolist()
    assert drawn.tolist() != arrivals(load, 1000, [3, 1], 3).tolist()
    assert drawn[-1] == pytest.approx(200e9, rel=0.2)
    traced = Load(trace="mine.csv", offsets_ns=(0, 5, 9))
    assert arrivals(traced, 2, [0], 7).tolist() == [0, 5]
    with pytest.raises(RaybenchError, match=r"mine.csv: it has 3 arrivals, and a turn 4 requests"):
        arrivals(traced, 4, [0], 0)
