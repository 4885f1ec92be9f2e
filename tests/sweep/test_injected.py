"""Known delays, from the strategy to the table: everything is real but time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fake_device import KnownWeights, Output
from raybench.analysis.tables import Tables
from raybench.deploy import strategies
from raybench.machine.device import CpuDevice
from raybench.model.weights import Weights
from raybench.model.workload import glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.builder import Overrides
from raybench.plan.plan import Configuration
from runs import measure

RUNS = 2


class Time:
    """A clock that moves by what models take, and by a little each time that it is read, so that waiting ends.

    Requests take 4 ms and vary by 5 %, visits by 5 %, and what a visit's models load by 1 % each.
    """

    def __init__(self, seed: int) -> None:
        self.rng, self.now_ns, self.visit_ns = np.random.default_rng(seed), 0, 4e6

    def __call__(self) -> int:
        self.now_ns += 1_000
        return self.now_ns

    def new_device(self) -> CpuDevice:
        self.visit_ns = 4e6 * math.exp(0.05 * self.rng.standard_normal())
        return CpuDevice(self)

    def new_model(self, weights: Weights, configuration: Configuration) -> Callable[..., None]:
        mean_ns = self.visit_ns * math.exp(0.01 * self.rng.standard_normal())
        time = self

        class Model(KnownWeights):
            def __call__(self, **inputs: Any) -> Any:
                time.now_ns += int(mean_ns * math.exp(0.05 * time.rng.standard_normal()))
                return Output((0, 0, None), torch.ones(1, 2))

        return Model()


def test_intervals_hold_the_delay_that_was_put_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, _ = plan_file.load_plan("delays", strategies.all_traits(), glue_tasks(), Overrides(rounds=6, requests=40))
    found = []
    for seed in range(RUNS):
        time = Time(seed)
        monkeypatch.setattr(Weights, "fine_tuned", lambda weights, c, time=time: time.new_model(weights, c))
        run = measure(dataclasses.replace(plan, warmups=1), tmp_path, f"run-{seed}", new_device=time.new_device)
        tables = Tables(run)
        delays = {c.name: c.delay_share for c in tables.description.configurations}
        found += [
            (1 + delays[row["configuration"]], row["low"], row["ratio"], row["high"])
            for row in tables.rows("FROM overhead WHERE clock = 'wall'")
        ]
    assert len(found) == RUNS * 24
    held = np.mean([low <= truth <= high for truth, low, _, high in found])
    assert held >= 0.93 - 3 * math.sqrt(0.93 * 0.07 / len(found))
    for truth in {truth for truth, *_ in found}:
        mean = np.mean([math.log(ratio / truth) for known, _, ratio, _ in found if known == truth])
        assert abs(mean) < 0.0106  # four standard errors
    # Over all of them a bias of a part in 220 would show.
    assert abs(np.mean([math.log(ratio / truth) for truth, _, ratio, _ in found])) < 0.0045
