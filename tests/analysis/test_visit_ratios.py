"""Ratios of visits, computed apart: request by request, from the samples alone."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generated_runs import MS, Took, generated, load_generated
from raybench.analysis.shipped import shipped_sql
from raybench.analysis.tables import Views
from raybench.plan.plan import Configuration
from runs import judge_anew

MEASURES = ("end_to_end", "ttft", "tpot")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every request takes another time; each third generates one token only, so it has no decoding step."""
    rng = np.random.default_rng(0)

    def cost(c: Configuration, task: str, request: int, round_index: int) -> Took:
        steps = [] if request % 3 == 0 else rng.integers(MS, 2 * MS, 3).tolist()
        return Took(int(rng.integers(5 * MS, 9 * MS)), steps, 0.5, 0.25, between=7)

    folder = tmp_path_factory.mktemp("ratios")
    found: Path = generated(load_generated(folder, requests=7), folder, cost, devices=2)
    return found


@pytest.mark.parametrize(
    "left_out",
    [
        pytest.param("false", id="the same requests on both sides"),
        pytest.param("configuration = 'multi' AND round = 1 AND request % 2 = 0", id="fewer of several adapters"),
        pytest.param("configuration = 'fullft_mrpc' AND round = 0 AND request > 2", id="fewer of a reference"),
        pytest.param("configuration = 'lora_sst2' AND round = 2", id="a round that one side has not"),
        pytest.param("round = 1 AND (configuration, request % 2) IN (('lora_mrpc', 0), ('fullft_mrpc', 1))", id="none"),
    ],
)
def test_ratios_are_of_the_requests_that_both_sides_served(root: Path, left_out: str) -> None:
    views = Views(root)
    views.connection.execute(f"CREATE TABLE kept AS FROM timed WHERE NOT ({left_out})")
    views.connection.execute("CREATE OR REPLACE VIEW timed AS FROM kept")
    judge_anew(views)
    expected = ratios(views)
    rows = views.rows("FROM visit_ratios")
    found = {(r["configuration"], r["reference_strategy"], r["round"], r["measure"]): r for r in rows}
    assert len(found) == len(rows)
    assert found.keys() == expected.keys()
    for key, row in found.items():
        assert row["device"] == expected[key].pop("device")
        # Of requests one by one some are slower and some faster: their mean is what is left of numbers of its size.
        paired = expected[key].pop("wall_paired")
        assert row["wall_paired"] == pytest.approx(paired, rel=1e-13, abs=1e-15), key
        assert {column: row[column] for column in expected[key]} == pytest.approx(expected[key], rel=1e-13), key


def ratios(views: Views) -> dict[tuple[str, str, int, str], dict[str, Any]]:
    """By configuration, reference strategy, round and measure."""
    samples = defaultdict(list)
    for row in views.rows("FROM timed"):
        samples[row["configuration"], row["block"]].append(row)
    pairs: dict[tuple[str, str, int, str], list[tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(list)
    for c in views.rows("FROM comparisons WHERE via IS NULL"):
        theirs = {(r["round"], r["task"], r["request"]): r for r in samples[c["reference"], c["reference_block"]]}
        for row in samples[c["configuration"], c["block"]]:
            if (other := theirs.get((row["round"], row["task"], row["request"]))) is not None:
                for measure in MEASURES:
                    if measure != "tpot" or row["output_tokens"] > 1:
                        pairs[c["configuration"], c["reference_strategy"], row["round"], measure].append((row, other))
    return {key: ratio(key[3], served) for key, served in pairs.items()}


def ratio(measure: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    found: dict[str, Any] = {"n": len(pairs), "device": pairs[0][0]["device"]}
    for clock in ("wall", "host", "device"):
        own, theirs = ([time_of(measure, clock, row) for row in side] for side in zip(*pairs, strict=True))
        column = "device_time" if clock == "device" else clock
        found[column] = math.log(statistics.fmean(own) / statistics.fmean(theirs))
        found[f"{clock}_median"] = math.log(statistics.median(own) / statistics.median(theirs))
        if clock == "wall":
            found["compared_ms"], found["reference_ms"] = (statistics.fmean(side) / MS for side in (own, theirs))
            logs = sorted(math.log(a / b) for a, b in zip(own, theirs, strict=True))
            found["wall_paired"] = statistics.fmean(logs[len(logs) // 5 : len(logs) - len(logs) // 5])
    return found


def time_of(measure: str, clock: str, row: dict[str, Any]) -> float:
    if measure == "tpot":
        return round(statistics.fmean(row[f"decode_{clock}_ns"]) * 256) / 256
    return float(row[f"{'prefill_' if measure == 'ttft' else ''}{clock}_ns"])


def test_a_side_is_joined_with_its_references_and_not_with_all_others(root: Path) -> None:
    """DuckDB chose the latter by itself, at a cost that grows with the square of the configurations."""
    views = Views(root)
    views.connection.execute(shipped_sql("visit_ratios"))
    explained = views.connection.execute("EXPLAIN (ANALYZE, FORMAT json) FROM raybench_visit_ratios").fetchall()
    joins = [
        operator
        for operator in operators(json.loads(explained[0][1]))
        if operator["type"] == "HASH_JOIN" and "measure = measure" in operator["extra_info"]["Conditions"]
    ]
    (ratios,) = (row["n"] for row in views.rows("SELECT count(*) AS n FROM visit_ratios"))
    assert joins
    assert {operator["intermediate_rows"] for operator in joins} <= {0, ratios}


def operators(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for child in (*node.get("operator", ()), *node.get("children", ())):
        yield child
        yield from operators(child)
