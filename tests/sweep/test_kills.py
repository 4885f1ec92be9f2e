"""Processes killed at random moments: the small version of ``benchmarks/kills.py``."""

from __future__ import annotations

from pathlib import Path

import pytest

from small_plans import small_plan
from sweep.kills import Siege


@pytest.mark.cluster
@pytest.mark.timeout(1500)
def test_nothing_is_lost_or_measured_twice_whatever_is_killed(tmp_path: Path) -> None:
    plan = tmp_path / "small.toml"
    # Visits so long that kills fall in them.
    plan.write_text(small_plan(rounds=4, requests=60))
    with Siege(plan, tmp_path, seed=3) as siege:
        siege.run(kills=6, limit_s=1400)
        assert siege.check()["rows"] == 8 * 4 * 60
        assert sum(siege.kills.values()) > 0
