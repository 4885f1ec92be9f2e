"""How many requests a written plan asks, and how long a visit may take, by how slow its model is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from raybench.analysis.percentiles import samples_needed
from raybench.deploy.strategies import all_traits
from raybench.model.lengths import Lengths
from raybench.model.shape import ModelShape
from raybench.plan.file import PlanSource, parse_plan
from raybench.records import TaskType
from raybench.sweep import estimate_lines, pace
from raybench.sweep.checked_plan import CheckedPlan
from raybench.sweep.estimate import CALIBRATION_S, CHECKS, COUNTED, COUNTED_S, START_S, VISIT_S
from raybench.sweep.pace import SLOW, USUAL, Pace, suited_pace

TEXT = """
name = "mine"
model = "micro-lm"
task_type = "CAUSAL_LM"
rounds = 10
requests = {requests}
warmups = 3
[workload]
prompt_tokens = 100
output_tokens = 1
[[configurations]]
name = "full"
strategy = "full_ft"
task = "a"
seed = 0
"""


def shape(parameters: int) -> ModelShape:
    """Without layers to launch, so that a forward of 100 tokens takes ``parameters`` x 2 x 100 operations."""
    return ModelShape(0, 8, parameters, parameters, 0, None, None, None, None)


def checked(requests: int = USUAL["CAUSAL_LM"].requests) -> CheckedPlan:
    plan, table = parse_plan(PlanSource("x", TEXT.format(requests=requests)), all_traits(), ())
    return CheckedPlan(plan, table, None, (), Lengths(100, 1, 0))


@pytest.fixture
def of_size(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def give(parameters: int) -> None:
        monkeypatch.setattr(estimate_lines, "model_shape", lambda spec, files: shape(parameters))

    return give


def visit_s(request_s: float, pace: Pace, load_s: float) -> float:
    """One configuration: checks, warm-ups, requests each with an opener, and what it does counted."""
    once = CALIBRATION_S + COUNTED_S + COUNTED * request_s
    return VISIT_S + load_s + (CHECKS + pace.warmups + 2 * pace.requests) * request_s + once


def test_a_quick_model_has_the_usual_pace_and_half_an_hour(of_size: Callable[[int], None]) -> None:
    of_size(10**8)  # 1 s a request on the slow core, 37 of them
    assert suited_pace(checked()) == Pace(15, 3, 1800.0)


def test_a_visit_may_take_three_times_what_it_is_estimated_to_take(of_size: Callable[[int], None]) -> None:
    of_size(1_200_000_000)
    assert visit_s(12.0, USUAL["CAUSAL_LM"], 4.8) == pytest.approx(594.8)  # not yet slow
    assert suited_pace(checked()) == Pace(15, 3, 1800.0)
    of_size(4_000_000_000)
    assert visit_s(40.0, USUAL["CAUSAL_LM"], 16.0) > 600
    assert visit_s(40.0, SLOW["CAUSAL_LM"], 16.0) == pytest.approx(1738)
    assert suited_pace(checked()) == Pace(13, 1, 5400.0)  # 3 x 1738, in whole ten minutes


def test_what_would_take_days_on_a_core_is_taken_to_go_to_a_gpu(of_size: Callable[[int], None]) -> None:
    of_size(70_000_000_000)  # 700 s a request on the slow core: 10 visits of 37 are more than two days
    assert START_S + 10 * visit_s(700, USUAL["CAUSAL_LM"], 280) > pace._MOST_ON_A_CORE_S
    # On an L4 0.93 s to read the weights, so 35 s of requests and 140 s of loading.
    assert suited_pace(checked()) == Pace(15, 3, 1800.0)


def test_requests_asked_for_on_the_command_line_are_those_that_a_visit_has(of_size: Callable[[int], None]) -> None:
    of_size(4_000_000_000)
    found = suited_pace(checked(requests=20))
    of_visit = visit_s(40.0, dataclasses.replace(SLOW["CAUSAL_LM"], requests=20), 16.0)
    assert of_visit == pytest.approx(2298)
    assert found == Pace(13, 1, 7200.0)


def test_a_model_of_unknown_size_has_the_usual_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = dataclasses.replace(shape(1), parameters=None)
    monkeypatch.setattr(estimate_lines, "model_shape", lambda spec, files: unknown)
    assert suited_pace(checked()) == USUAL["CAUSAL_LM"]


@pytest.mark.parametrize("task_type", ["SEQ_CLS", "CAUSAL_LM"])
def test_a_slow_model_is_asked_less_and_enough_for_a_p95(task_type: TaskType) -> None:
    assert SLOW[task_type].requests < USUAL[task_type].requests
    assert SLOW[task_type].warmups < USUAL[task_type].warmups
    assert 10 * SLOW[task_type].requests == samples_needed(95)
