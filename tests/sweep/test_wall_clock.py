"""The wall clock jumps an hour, forth and back, while a sweep runs: nothing that is measured may notice."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

from raybench.analysis.tables import Tables
from small_plans import small_plan
from sweep.drivers import Driver

HOUR_S = 3600
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture
def offset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that holds by how many seconds the wall clocks of visits are off."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build the clock with")
    library = tmp_path / "wall_clock.so"
    source = Path(__file__).with_name("wall_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    path = tmp_path / "offset"
    path.write_bytes(struct.pack("q", 0))
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("WALL_CLOCK_OFFSET", str(path))
    return path


def set_clock(offset: Path, seconds: int) -> None:
    with offset.open("r+b") as file:  # the same file: it is mapped
        file.write(struct.pack("q", seconds))


def test_latencies_and_rows_are_as_without(offset: Path, tmp_path: Path, drivers: list[Driver]) -> None:
    plan = tmp_path / "small.toml"
    plan.write_text(small_plan(rounds=8))
    began = time.time()
    driver = Driver(plan, tmp_path / "results", "--run-id", "jumps")
    drivers.append(driver)
    visit = driver.wait_for_visit()
    for seconds in (HOUR_S, -HOUR_S):
        set_clock(offset, seconds)
        for _ in range(2):  # the second began after the clock was set
            visit = driver.wait_for_visit(after=visit)
    assert driver.wait() == 0, driver.output()
    took_ns = (time.time() - began) * 1e9
    tables = Tables(driver.root)
    jumps = [row["t"].timestamp() - began for row in tables.rows("SELECT started_at AS t FROM visits")]
    assert min(jumps) < -HOUR_S / 2 < HOUR_S / 2 < max(jumps), "the clock did not jump"
    (found,) = tables.rows("SELECT min(wall_ns) AS least, max(wall_ns) AS most, count(*) AS n FROM samples")
    assert 0 < found["least"] <= found["most"] < took_ns
    (found,) = tables.rows("SELECT min(total_ns) AS least, max(total_ns) AS most, max(fork_ns) AS fork FROM visits")
    assert 0 < found["least"] <= found["most"] < took_ns
    assert found["fork"] < took_ns
    backwards = tables.rows(
        "SELECT 1 FROM (SELECT started_ns - lag(started_ns) OVER (PARTITION BY visit ORDER BY sequence) AS step "
        "FROM samples) WHERE step < 0"
    )
    assert backwards == []
    (timed,) = tables.rows(
        "SELECT count(*) AS n, count(DISTINCT (block, configuration, round, task, request)) AS d FROM timed"
    )
    assert timed["n"] == timed["d"] == 8 * 8 * 4
    assert "7 of 7 configurations complete." in driver.output()
