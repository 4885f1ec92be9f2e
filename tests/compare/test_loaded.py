"""Two runs of servers compared: each load is a row of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from loaded_runs import FULL, HEAD, at, even, load_loaded, loaded
from raybench.analysis.tables import Tables
from raybench.compare.command import compare
from raybench.plan.plan import Configuration


def test_each_load_is_compared_with_itself(tmp_path: Path) -> None:
    plan = load_loaded(tmp_path, HEAD + at(FULL, 1, 2), rounds=3)

    def slower(configuration: Configuration, round_index: int, place: int) -> tuple[float, float]:
        ttft, step = even(configuration, round_index, place)
        longer = (1.5 if configuration.load is not None else 1.0) * (1 + 0.001 * round_index)
        return ttft * longer, step * longer

    runs = [loaded(plan, tmp_path, cost, name) for name, cost in (("a", even), ("b", slower))]
    found = compare(*(Tables(run) for run in runs))
    rows = {(row.name, row.measure): (row.a_ms, row.b_ms) for row in found.deployments}
    assert {name for name, _ in rows} == {"Full FT", "Full FT (2 at once)"}
    assert rows["Full FT", "end_to_end"] == pytest.approx((7.5, 7.5), rel=2e-3)
    assert rows["Full FT (2 at once)", "end_to_end"] == pytest.approx((10, 15), rel=2e-3)
