"""How sure a run is of a strategy's speed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from raybench.analysis.stats import Estimate
from raybench.decide.speed import reach, speed_of


def visits(name: str, means_ms: dict[str, list[float]], devices: int = 1) -> list[dict[str, Any]]:
    """Of one configuration: the mean of each task in each round."""
    return [
        {"configuration": name, "round": r, "device": f"gpu{r % devices}", "task": task, "mean_ns": ms * 1e6}
        for task, of_task in means_ms.items()
        for r, ms in enumerate(of_task)
    ]


def test_of_one_configuration_it_is_the_t_interval_over_visits() -> None:
    means = [4.0, 4.4, 4.1, 3.9]
    speed = speed_of(visits("merged", {"sst2": means, "left_out": [100.0] * 4}), ["sst2"])
    theirs = stats.ttest_1samp(np.log(means), 0).confidence_interval()
    ends = reach(speed)
    assert math.exp(speed.log_ratio) == pytest.approx(stats.gmean(means) * 1e6)
    assert (ends.low, ends.high) == pytest.approx(
        (math.exp(theirs.low) / stats.gmean(means), math.exp(theirs.high) / stats.gmean(means))
    )


def test_configurations_weigh_what_they_add_to_the_mean_and_tasks_count_alike() -> None:
    quick, slow = [1.0, 1.2, 0.9], [10.0, 10.1, 9.8]
    speed = speed_of(visits("a", {"mrpc": quick}) + visits("b", {"sst2": slow}), ["mrpc", "sst2"])
    means = np.array([stats.gmean(quick), stats.gmean(slow)])
    errors = np.array([stats.sem(np.log(quick)), stats.sem(np.log(slow))])
    assert speed.standard_error == pytest.approx(math.hypot(*(means / means.sum() * errors)))
    # Two seeds of one task are not two tasks.
    twice = speed_of(
        visits("a", {"mrpc": quick}) + visits("c", {"mrpc": quick}) + visits("b", {"sst2": slow}), ["mrpc", "sst2"]
    )
    assert twice.log_ratio == pytest.approx(speed.log_ratio)


def test_one_configuration_of_two_tasks_is_one_block() -> None:
    speed = speed_of(visits("multi", {"mrpc": [1.0, 1.2, 0.9], "sst2": [3.0, 3.1, 3.2]}), ["mrpc", "sst2"])
    levels = np.log(np.mean([[1.0, 1.2, 0.9], [3.0, 3.1, 3.2]], axis=0))
    assert (speed.n, speed.df) == (3, 2)
    assert speed.standard_error == pytest.approx(stats.sem(levels))


def test_over_several_gpus_it_is_over_them() -> None:
    speed = speed_of(visits("merged", {"sst2": [4.0, 5.0, 4.2, 4.9]}, devices=2), ["sst2"])
    assert (speed.devices, speed.df) == (2, 1)


def test_one_visit_bounds_nothing() -> None:
    speed = speed_of(visits("merged", {"sst2": [4.0]}), ["sst2"])
    assert speed.unknown == "one visit"
    assert reach(speed) == (0.0, math.inf)
    assert reach(Estimate(3.0, 0.0, 2, 3)) == (1.0, 1.0)
