"""Latencies as arrays are those of the view, however few are read at a time."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from generated_runs import MS, Took, generated, load_generated
from raybench.analysis import batches
from raybench.analysis.latencies import read_latencies
from raybench.analysis.tables import Views
from raybench.plan.plan import Configuration


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Views:
    """Some requests of one configuration generate one token; another configuration has no samples."""
    rng = np.random.default_rng(0)

    def cost(c: Configuration, task: str, request: int, round_index: int) -> Took:
        steps = [] if request % 2 and c.name == "lora_sst2" else rng.integers(MS, 2 * MS, 3).tolist()
        return Took(int(rng.integers(5 * MS, 9 * MS)), steps)

    folder = tmp_path_factory.mktemp("latencies")
    found = Views(generated(load_generated(folder), folder, cost, devices=2))
    found.connection.execute("CREATE TABLE kept AS FROM timed WHERE configuration <> 'merged_mrpc' ORDER BY random()")
    found.connection.execute("CREATE OR REPLACE VIEW timed AS FROM kept")
    return found


@pytest.mark.parametrize("at_once", [1, 30, 10**9])
def test_they_are_those_of_the_view(views: Views, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "ROWS_AT_ONCE", at_once)
    counts = {row["name"]: 0 for row in views.rows("FROM configurations ORDER BY position")}
    expected: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    places = {}
    for row in views.rows("FROM latencies"):
        counts[row["configuration"]] += 1
        places[row["visit"]] = (row["device"], row["started_at"].timestamp())
        for measure, column in (("end_to_end", "wall_ms"), ("ttft", "ttft_ms"), ("tpot", "tpot_ms")):
            if row[column] is not None:
                expected[row["configuration"], measure][row["visit"]].append(row[column])
    found = list(read_latencies(views.query, counts))
    if at_once == 1:
        by_block = views.rows("FROM configurations ORDER BY block, position")
        assert [one.configuration for one in found] == [row["name"] for row in by_block if counts[row["name"]]]
    if at_once > sum(counts.values()):
        assert [one.configuration for one in found] == [name for name, count in counts.items() if count]
    assert sorted(one.configuration for one in found) == sorted(name for name, count in counts.items() if count)
    assert {(one.configuration, measure) for one in found for measure in one.by_measure} == expected.keys()
    for one in found:
        for measure, visits in one.by_measure.items():
            of_view = expected[one.configuration, measure]
            assert {v.name: np.asarray(v.latencies).tolist() for v in visits} == of_view
            assert [v.name for v in visits] == list(of_view)
            assert {v.name: (v.device, v.started) for v in visits} == {name: places[name] for name in of_view}
