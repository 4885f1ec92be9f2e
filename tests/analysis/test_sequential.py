from __future__ import annotations

import math

import numpy as np
import pytest

from analysis import truth
from raybench.analysis.blocks import from_devices
from raybench.analysis.sequential import (
    CONFIRMING,
    CONFIRMING_OVER_DEVICES,
    FIRST_LOOK,
    HalfwidthRule,
    dependable_halfwidth,
)
from raybench.analysis.stats import from_visits

RULE = HalfwidthRule(0.01, max_rounds=50)
WIDE, NARROW = 0.02, 0.009


@pytest.mark.parametrize("wanted", truth.SEQUENTIAL, ids=lambda wanted: wanted.name)
def test_simulated_truth_is_found(wanted: truth.Property) -> None:
    assert truth.holds_roughly(wanted, share=0.05)


def test_the_simulation_sees_the_halfwidths_that_estimates_have() -> None:
    d = np.random.default_rng(6).normal(0.3, 0.02, (3, 12))
    widths = truth.prefix_halfwidths(d)
    for row, of_row in zip(d, widths, strict=True):
        assert of_row == pytest.approx([from_visits(row[: n + 1]).halfwidth() for n in range(12)], rel=1e-9)


def test_the_simulation_over_gpus_sees_the_halfwidths_that_estimates_have() -> None:
    d = np.random.default_rng(7).normal(0.3, 0.02, (3, 13))
    for gpus in (3, 5):
        for row, widths in zip(d, truth.over_gpus_halfwidths(d, gpus), strict=True):
            expected = [
                dependable_halfwidth(from_devices({str(g): row[g:n:gpus] for g in range(gpus) if len(row[g:n:gpus])}))
                for n in range(gpus, 14)
            ]
            assert widths[gpus - 1 :] == pytest.approx(expected, rel=1e-9)


def test_where_the_target_cannot_be_met_it_is_said() -> None:
    assert HalfwidthRule(0.01, 20, 1).out_of_reach() is None
    assert HalfwidthRule(0.01, 36, 4).out_of_reach() is None
    short = HalfwidthRule(0.01, 35, 4).out_of_reach()
    assert short == "Over 4 GPUs it takes 36 rounds to be sure (--max-rounds): all 35 rounds are measured."
    for devices in (2, 3):
        few = HalfwidthRule(0.01, 50, devices).out_of_reach()
        assert few is not None
        assert few.startswith(f"Intervals over {devices} GPUs are too unsure to stop by: all 50 rounds are measured.")


def test_two_or_three_gpus_are_never_narrow() -> None:
    assert dependable_halfwidth(from_devices({"a": [0.1], "b": [0.1], "c": [0.1]})) == math.inf
    assert dependable_halfwidth(from_devices({"a": [0.1], "b": [0.1], "c": [0.1], "d": [0.1]})) == math.inf  # equal
    assert dependable_halfwidth(from_devices({"a": [0.1], "b": [0.1], "c": [0.1], "d": [0.100001]})) < 1e-5


def test_over_gpus_more_rounds_confirm() -> None:
    rule = HalfwidthRule(0.01, max_rounds=50, devices=4)
    rounds = next(n for n in range(1, 51) if rule.decide([NARROW] * n) == "narrow")
    assert rounds == FIRST_LOOK + CONFIRMING_OVER_DEVICES == 36


def test_a_narrow_interval_is_confirmed_before_it_counts() -> None:
    first = 12
    history = [WIDE] * (first - 1) + [NARROW] * 40
    ends = [RULE.decide(history[:rounds]) for rounds in range(1, first + CONFIRMING + 1)]
    assert ends == ["continue"] * (first + CONFIRMING - 1) + ["narrow"]


def test_narrowness_before_the_first_look_is_luck() -> None:
    history = [math.inf] + [NARROW] * 40
    rounds = next(n for n in range(1, 41) if RULE.decide(history[:n]) == "narrow")
    assert rounds == FIRST_LOOK + CONFIRMING


def test_the_target_must_still_be_met_at_the_end() -> None:
    history = [WIDE] * 9 + [NARROW] + [WIDE] * (CONFIRMING + 3)
    assert RULE.decide(history) == "continue"
    assert RULE.decide([*history, 0.01]) == "narrow"


def test_the_most_rounds_end_it() -> None:
    rule = HalfwidthRule(0.01, max_rounds=20)
    assert rule.decide([WIDE] * 19) == "continue"
    assert rule.decide([WIDE] * 20) == "max_rounds"
    assert rule.decide([WIDE] * 15 + [NARROW] * 5) == "max_rounds"
    assert rule.decide([NARROW] * 20) == "narrow"
    assert rule.decide([]) == "continue"


def test_a_claim_without_an_interval_never_is_narrow() -> None:
    assert RULE.decide([math.inf] * 49) == "continue"
    assert RULE.decide([math.nan] * 49) == "continue"


@pytest.mark.parametrize(("target", "rounds"), [(0, 10), (-0.01, 10), (math.nan, 10), (math.inf, 10), (0.01, 0)])
def test_rules_that_cannot_end_are_refused(target: float, rounds: int) -> None:
    with pytest.raises(ValueError, match=r"half-width|round"):
        HalfwidthRule(target, rounds)
