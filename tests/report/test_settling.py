"""What would settle what is inconclusive: rounds, or what the larger part of the spread asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generated_runs import MS, Cost, Took, generated, load_generated
from raybench.analysis.ratios import compared_in
from raybench.analysis.tables import Tables
from raybench.page.verdicts import reason_of, verdict_rows
from raybench.plan.plan import Configuration
from raybench.report.settling import NOT_BY_ROUNDS, Settling, are_too_many, round_seconds, settled_by
from raybench.report.study import verdict_lines


@pytest.mark.parametrize(
    ("rounds", "round_s", "too_many"),
    [
        (100, None, False),
        (101, None, True),
        (100, 864.0, False),
        (100, 864.1, True),
        (1, 86_401.0, True),
        (8_546, 0.001, True),
    ],
)
def test_more_than_a_hundred_rounds_or_a_day_are_too_many(rounds: int, round_s: float | None, too_many: bool) -> None:
    assert are_too_many(rounds, round_s) is too_many
    assert settled_by(rounds, round_s).startswith(NOT_BY_ROUNDS) is too_many


def test_a_number_of_rounds_is_said_with_what_it_rests_on() -> None:
    assert settled_by(1) == "about 1 more round would settle it, if ratio and spread stay as they are"
    assert settled_by(12, 60.0) == "about 12 more rounds would settle it, if ratio and spread stay as they are"
    assert settled_by(8_546) == (
        "not to be settled by more rounds on this machine: a wider margin would do, or a machine whose visits differ "
        "less"
    )


def noisy(of_request: float, of_visit: float, slow: float = 0.0) -> Cost:
    """The merged adapter's requests and visits scatter by so much; in some visits one request is slower by so much."""
    rng = np.random.default_rng(7)
    visits = rng.lognormal(0, of_visit, 100)

    def cost(c: Configuration, task: str, request: int, round_index: int) -> Took:
        ms = 10.0
        if c.strategy == "lora_merged":
            ms *= visits[round_index] * rng.lognormal(0, of_request)
            ms *= 1 + slow * (request % 40 == 7 and round_index % 3 == 0)
        return Took(int(ms * MS) + round_index * 101 + request * 13, [2 * MS + round_index * 17] * 3)

    return cost


def run(folder: Path, cost: Cost) -> Tables:
    tables = Tables(generated(load_generated(folder, rounds=9, requests=40), folder, cost))
    tables.connection.execute(
        "UPDATE by_strategy SET verdict = 'inconclusive', more_rounds = 8546, disputed = false "
        "WHERE verdict IS NOT NULL AND clock = 'wall' AND strategy = 'lora_merged' AND reference_strategy = 'full_ft'"
    )
    return tables


def row_of(tables: Tables, measure: str) -> dict[str, Any]:
    where = "strategy = 'lora_merged' AND reference_strategy = 'full_ft'"
    (row,) = tables.rows(f"FROM by_strategy WHERE clock = 'wall' AND measure = '{measure}' AND {where}")
    beside = {compared_in(one): one for one in tables.rows("FROM by_strategy WHERE clock = 'wall paired'")}
    return row | {"paired": beside.get(compared_in(row))}


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (noisy(0.3, 0.0), "the requests of a visit make most of the spread, so more of them in each would"),
        (noisy(0.01, 0.1), "visits differ by more than their requests do, so a quieter machine would"),
        (noisy(0.001, 0.0, slow=30.0), "a few slow requests make most of the spread, so a quieter machine would"),
    ],
    ids=["requests", "visits", "slow requests"],
)
def test_the_larger_part_of_the_spread_says_what_would_settle_it(tmp_path: Path, cost: Cost, words: str) -> None:
    tables = run(tmp_path, cost)
    row = row_of(tables, "ttft")
    said = Settling(tables).words(row)
    assert said.startswith(f"{NOT_BY_ROUNDS}: {words}")
    line = next(line for line in verdict_lines(tables) if line.startswith("LoRA Merged against Full FT"))
    assert line.count(NOT_BY_ROUNDS) == 2  # of TPOT all visits are equal
    assert any(line.startswith(f"{NOT_BY_ROUNDS.capitalize()}: {words}") for line in verdict_lines(tables))
    on_the_page = next(one for one in verdict_rows(tables) if compared_in(one) == compared_in(row))
    assert said in reason_of(on_the_page, tables.margin).words


def test_the_pace_of_a_run_counts(tmp_path: Path) -> None:
    tables = run(tmp_path, noisy(0.3, 0.0))
    row = row_of(tables, "ttft") | {"more_rounds": 50}
    # A visit takes nine nanoseconds there, and a round has three.
    assert round_seconds(tables) == pytest.approx(27e-9)
    assert Settling(tables).words(row) == settled_by(50)
    slow = "SELECT * REPLACE (1_000_000_000_000 AS total_ns) FROM raybench_held_visits"
    tables.connection.execute(f"CREATE OR REPLACE VIEW visits AS {slow}")
    assert round_seconds(tables) == pytest.approx(3_000)
    assert Settling(tables).words(row).startswith(NOT_BY_ROUNDS)
