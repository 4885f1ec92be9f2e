"""What a load did: rates of what was served while timed requests were under way, shares that kept limits, cautions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import duckdb
import pytest
from scipy import stats

from loaded_runs import ADAPTERS, FULL, GOODPUT, HEAD, at, beside, even, load_loaded, loaded, moments_ns
from raybench.analysis.goodput import Limits, goodput_rows, over_visits, ratio_over_visits
from raybench.analysis.percentiles import percentile
from raybench.analysis.tables import Tables, write_derived
from raybench.plan.plan import Configuration

PLAN = HEAD + GOODPUT + ADAPTERS + at(FULL, 1, 2) + at(beside("separate", "lora_separate"), 1, 2)


def cost(configuration: Configuration, round_index: int, place: int) -> tuple[float, float]:
    """A full fine-tune 4 + 2 * 3 ms, of round 1 a quarter longer; an adapter's first tokens after 4 ms and then 8."""
    ttft, step = even(configuration, round_index, place)
    if configuration.strategy == "lora_separate":
        step = 1.0 if place < 3 else 8.0
    longer = 1.25 if round_index else 1.0
    return ttft * longer, step * longer


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("loaded")
    return Tables(loaded(load_loaded(folder, PLAN), folder, cost, late_ns=lambda c: 10_000))


def only(tables: Tables, sql: str) -> dict[str, Any]:
    (row,) = tables.rows(sql)
    return row


def test_a_turn_has_what_was_served_while_its_timed_requests_were_under_way(tables: Tables) -> None:
    # Two at once: openers until 10 and 5 ms, timed from 5, 10, 15 and 20 ms, ten each, and an opener beside the last.
    turn = only(tables, "FROM load_turns WHERE configuration = 'full_c2' AND round = 0")
    assert (turn["requests"], turn["served"], turn["served_tokens"]) == (4, 5, 15)
    assert [turn[key] for key in ("duration_s", "requests_per_s", "output_tokens_per_s")] == [0.025, 200, 600]
    assert (turn["load"], turn["good"], turn["good_share"], turn["goodput_per_s"]) == ("2 at once", 0, 0, 0)
    assert [turn[f"late_{of}_ms"] for of in ("p50", "p99", "max")] == [0.01, 0.01, 0.01]
    assert turn["cached_share"] is None


def test_answers_that_end_together_count_once(tmp_path: Path) -> None:
    # Two at once, in step: openers until 10 ms, timed until 20 and 30, the last opener after them.
    root = loaded(load_loaded(tmp_path, HEAD + at(FULL, 2)), tmp_path, lambda c, r, place: (4.0, 3.0))
    for turn in Tables(root).rows("FROM load_turns"):
        assert (turn["requests"], turn["served"], turn["duration_s"], turn["requests_per_s"]) == (4, 4, 0.02, 200)


RATE = 20.0
OPEN = HEAD.replace("rounds = 2", "rounds = 200").replace("requests = 4", "requests = 22") + GOODPUT
OPEN += FULL + f"rate_per_s = {RATE}\n"


def hundred_ms(configuration: Configuration, round_index: int, place: int) -> tuple[float, float]:
    return 4.0, 48.0


@pytest.mark.parametrize("openers", [(6, 6), (15, 1), (0, 0)])
def test_a_server_that_keeps_up_shows_the_rate_that_was_offered(tmp_path: Path, openers: tuple[int, int]) -> None:
    # However many openers there are; without any it is as in a trace.
    tables = Tables(loaded(load_loaded(tmp_path, OPEN), tmp_path, hundred_ms, openers=openers))
    took = [max(timed) - min(timed) for timed in (moments_ns(RATE, 22, r, (0, 0)) for r in range(200))]
    turn = only(tables, "FROM load_turns WHERE round = 7")
    assert (turn["requests"], turn["served"], turn["served_tokens"]) == (22, 21, 63)
    assert turn["duration_s"] == pytest.approx(took[7] / 1e9)
    row = only(tables, "FROM goodput")
    assert row["requests_per_s"] == pytest.approx(21e9 / (sum(took) / 200))
    assert row["requests_per_s"] == pytest.approx(RATE, rel=0.03)  # twice what chance makes of 200 times 21
    assert row["requests_per_s_low"] < RATE < row["requests_per_s_high"]
    assert row["output_tokens_per_s"] == pytest.approx(3 * row["requests_per_s"])


def test_a_server_that_does_not_keep_up_shows_how_often_it_answers(tmp_path: Path) -> None:
    # One at once, 100 ms each: 10 a second, of 20 that are asked.
    plan = load_loaded(tmp_path, OPEN.replace("rounds = 200", "rounds = 3"))
    tables = Tables(loaded(plan, tmp_path, hundred_ms, streams=1))
    row = only(tables, "FROM goodput")
    assert row["requests_per_s"] == pytest.approx(10)
    assert (row["good_share"], row["goodput_per_s"]) == (0, 0)


def test_a_single_request_at_a_rate_has_none(tmp_path: Path) -> None:
    plan = load_loaded(tmp_path, OPEN.replace("rounds = 200", "rounds = 2").replace("requests = 22", "requests = 1"))
    tables = Tables(loaded(plan, tmp_path, hundred_ms))
    assert [turn["requests_per_s"] for turn in tables.rows("FROM load_turns")] == [None, None]
    row = only(tables, "FROM goodput")
    assert [row[key] for key in ("requests_per_s", "output_tokens_per_s", "goodput_per_s")] == [None] * 3
    assert row["good_share"] == 0


def test_who_keeps_the_limits_counts(tables: Tables) -> None:
    # Of the adapter's four timed requests the first has tokens 1 ms apart, and the others 8: the limit is 2.
    turn = only(tables, "FROM load_turns WHERE configuration = 'separate_c2' AND round = 0")
    assert (turn["requests"], turn["good"], turn["good_share"]) == (4, 1, 0.25)
    assert turn["goodput_per_s"] == pytest.approx(turn["requests_per_s"] / 4)


def test_one_at_a_time_there_are_no_rates(tables: Tables) -> None:
    turns = tables.rows("FROM load_turns WHERE configuration = 'full_c1' AND round = 0")
    assert [(turn["turn"], turn["requests"], turn["load"]) for turn in turns] == [(0, 2, None), (1, 2, None)]
    assert {turn["requests_per_s"] for turn in turns} == {turn["late_p99_ms"] for turn in turns} == {None}
    row = only(tables, "FROM goodput WHERE deployment = 'Full FT'")
    assert (row["load"], row["requests_per_s"], row["goodput_per_s"], row["late_p99_ms"]) == (None, None, None, None)
    assert row["good_share"] == 0.25  # of round 0 two of four, of round 1 none


def test_rates_are_of_the_mean_time_of_a_request_with_students_interval_over_visits(tables: Tables) -> None:
    row = only(tables, "FROM goodput WHERE deployment = 'Full FT (2 at once)'")
    assert (row["visits"], row["requests"], row["concurrency"], row["configurations"]) == (2, 8, 2, 1)
    # 5 and 6.25 ms a request, 5.625 in the mean, with an interval that reaches below 0 and so bounds no rate.
    low, high = stats.t.interval(0.95, 1, loc=5.625e-3, scale=stats.sem([5e-3, 6.25e-3]))
    assert row["requests_per_s"] == pytest.approx(1 / 5.625e-3)
    assert (row["requests_per_s_low"], row["requests_per_s_high"]) == pytest.approx((1 / high, math.inf))
    assert low < 0
    assert row["output_tokens_per_s"] == pytest.approx(3 / 5.625e-3)
    assert (row["good_share"], row["goodput_per_s"], row["good_share_low"]) == (0, 0, None)
    assert row["late_p99_ms"] == 0.01


def test_loads_are_rows_of_their_own_wherever_deployments_are(tables: Tables) -> None:
    expected = ["Full FT", "Full FT (2 at once)", "LoRA Separate", "LoRA Separate (2 at once)"]
    for name in ("goodput", "deployments"):
        assert [row["deployment"] for row in tables.rows(f"FROM {name}")] == expected
    compared = tables.rows(
        "SELECT deployment, reference_deployment, compared_ms, reference_ms FROM by_strategy WHERE clock = 'wall' "
        "AND measure = 'end_to_end' AND strategy = 'lora_separate' AND reference_strategy = 'full_ft'"
    )
    assert [(row["deployment"], row["reference_deployment"]) for row in compared] == [
        ("LoRA Separate", "Full FT"),
        ("LoRA Separate (2 at once)", "Full FT (2 at once)"),
    ]
    axes = tables.rows("SELECT DISTINCT deployment, load FROM by_axis ORDER BY ALL")
    assert [row["load"] for row in axes] == [None, "2 at once", None, "2 at once"]


def test_times_one_after_the_other_make_no_rates_under_a_load(tables: Tables) -> None:
    rows = tables.rows("FROM by_configuration")
    assert [row["requests_per_second"] is None for row in rows] == [False, True, False, True]
    assert [row["tokens_per_second"] is None for row in rows] == [False, True, False, True]
    rows = tables.rows("FROM deployments")
    assert [row["tokens_per_second"] is None for row in rows] == [False, True, False, True]
    assert {row["deployment"] for row in tables.rows("FROM throughput")} == {"Full FT", "LoRA Separate"}


def test_a_role_of_the_plans_own_has_a_row_for_each_load(tmp_path: Path) -> None:
    plan = load_loaded(tmp_path, HEAD + at(FULL + 'role = "mine"\n', 1, 2).replace("references", "# references"))
    names = [row["deployment"] for row in Tables(loaded(plan, tmp_path)).rows("FROM deployments")]
    assert names == ["mine", "mine (2 at once)"]


def test_what_nothing_serves_has_no_calibrations_nor_predictions(tables: Tables) -> None:
    for name in ("counts", "calibrations", "predictions", "attribution"):
        assert tables.rows(f"FROM {name}") == []


def test_how_requests_came_is_said_with_configurations_and_the_run(tables: Tables) -> None:
    rows = tables.rows("SELECT name, servers, load, concurrency, rate_per_s FROM configurations")
    assert [tuple(row.values()) for row in rows] == [
        ("full_c1", "servers", None, None, None),
        ("full_c2", "servers", "2 at once", 2, None),
        ("separate_c1", "servers", None, None, None),
        ("separate_c2", "servers", "2 at once", 2, None),
    ]
    run = only(tables, "SELECT servers, goodput_ttft_ms, goodput_tpot_ms FROM run")
    assert run == {"servers": ["serve"], "goodput_ttft_ms": 5.0, "goodput_tpot_ms": 2.0}


def test_an_engine_of_version_8_is_one_of_servers(tmp_path: Path) -> None:
    root = loaded(load_loaded(tmp_path, PLAN), tmp_path, cost)
    described = json.loads((root / "run.json").read_text())
    described["plan"]["engine"] = {"preset": "vllm", "command": []}
    for key in ("servers", "goodput"):
        del described["plan"][key]
    for configuration in described["configurations"]:
        del configuration["servers"], configuration["load"]
    (root / "run.json").write_text(json.dumps(described))
    tables = Tables(root)
    assert only(tables, "SELECT servers, goodput_ttft_ms FROM run") == {"servers": ["vllm"], "goodput_ttft_ms": None}
    assert {row["load"] for row in tables.rows("FROM configurations")} == {None}
    assert {row["good"] for row in tables.rows("FROM load_turns")} == {None}


def test_other_loads_are_called_by_what_they_are(tmp_path: Path) -> None:
    tables = (
        FULL + "rate_per_s = [0.5, 20.0]\n",
        FULL.replace("full_{load}", "b_{load}") + "rate_per_s = 2.0\nburstiness = 0.25\n",
    )
    root = loaded(load_loaded(tmp_path, HEAD + "".join(tables)), tmp_path)
    rows = Tables(root).rows("SELECT load, concurrency, rate_per_s FROM configurations")
    assert [tuple(row.values()) for row in rows] == [
        ("0.5 a second", None, 0.5),
        ("20 a second", None, 20.0),
        ("2 a second, burstiness 0.25", None, 2.0),
    ]
    described = json.loads((root / "run.json").read_text())
    for configuration, load in zip(
        described["configurations"],
        ({"rate_per_s": 1e6, "burstiness": 1.0}, {"trace": "/x/monday.a.csv", "requests": 4, "digest": "0123456789ab"}),
        strict=False,
    ):
        configuration["load"] = load
    (root / "run.json").write_text(json.dumps(described))
    rows = Tables(root).rows("SELECT load FROM configurations LIMIT 2")
    assert [row["load"] for row in rows] == ["1000000 a second", "as traced in monday.a"]


def test_any_duckdb_reads_what_a_load_did(tables: Tables) -> None:
    write_derived(tables)
    with duckdb.connect() as connection:
        connection.execute("SET VARIABLE raybench_run = ?", [str(tables.root)])
        connection.execute((Path(str(tables.root)) / "views.sql").read_text())
        for name in ("load_turns", "goodput"):
            assert connection.sql(f"FROM {name}").to_arrow_table().equals(tables.query(f"FROM {name}"))


# ---- statistics


def visit(name: str, rate: float, ttft: list[float], tpot: list[float | None], **values: Any) -> dict[str, Any]:
    row = {"configuration": name, "deployment": "D", "strategy": "s", "load": "2 at once", "concurrency": 2}
    row |= {"rate_per_s": None, "servers": "s", "complete": True, "device": "d", "request_s": 1 / rate}
    row |= {"token_s": 1 / (3 * rate), "ttft_ms": ttft, "tpot_ms": tpot, "late_ms": None, "further": len(ttft)}
    return (
        row
        | {"cached_tokens": None, "at_once": 0, "steps": 0, "together": 0, "cache_untold": 0, "prompt_tokens": None}
        | values
    )


def test_configurations_count_alike_and_are_strata() -> None:
    level = over_visits([[1.0, 3.0], [10.0, 10.5, 11.0, 11.5]])
    assert level.mean == pytest.approx((2 + 10.75) / 2)
    parts = [stats.sem(of) ** 2 / 4 for of in ([1, 3], [10, 10.5, 11, 11.5])]
    df = sum(parts) ** 2 / (parts[0] ** 2 / 1 + parts[1] ** 2 / 3)
    reach = stats.t.ppf(0.975, df) * math.sqrt(sum(parts))
    assert (level.low, level.high) == pytest.approx((level.mean - reach, level.mean + reach))
    assert over_visits([[7.0]]) == (7.0, None, None)
    assert over_visits([[7.0, 7.0]]) == (7.0, None, None)


def test_a_ratio_has_fiellers_interval() -> None:
    pairs = [(0.9, 0.10), (1.0, 0.11), (0.8, 0.14), (1.0, 0.12)]
    level = ratio_over_visits([pairs])
    assert level is not None
    assert level.low is not None
    assert level.high is not None
    assert level.mean == pytest.approx(3.7 / 0.47)
    for end in (level.low, level.high):  # where the mean difference is just told from 0
        assert stats.ttest_1samp([a - end * b for a, b in pairs], 0).pvalue == pytest.approx(0.05)
    assert level.low < level.mean < level.high
    assert ratio_over_visits([[(1.0, 0.5)]]) == (2.0, None, None)
    assert ratio_over_visits([[(0.5, 0.25), (0.5, 0.25)]]) == (2.0, None, None)
    assert ratio_over_visits([[(1.0, -0.5), (1.0, 0.25)]]) is None


def test_of_ones_it_is_the_interval_of_the_mean_inverted() -> None:
    seconds = [[1.0, 3.0, 2.5], [10.0, 10.5, 11.0, 11.5]]
    mean, low, high = over_visits(seconds)
    assert low is not None
    assert high is not None
    ones = [[(1.0, one) for one in of] for of in seconds]
    assert ratio_over_visits(ones) == pytest.approx((1 / mean, 1 / high, 1 / low))


def test_a_rate_whose_mean_time_is_not_told_from_0_has_no_upper_end() -> None:
    level = ratio_over_visits([[(1.0, 0.1), (1.0, 0.5)]])
    high = stats.t.interval(0.95, 1, loc=0.3, scale=stats.sem([0.1, 0.5]))[1]
    assert level == pytest.approx((1 / 0.3, 1 / high, math.inf))
    assert ratio_over_visits([[(0.0, 0.1), (0.0, 0.5)]]) == (0.0, None, None)


def test_both_limits_must_be_kept_and_a_single_token_has_no_second_one() -> None:
    visits = [visit("a", 8.0, [5.0, 5.1, 5.0, 1.0], [2.0, 1.0, 2.1, None]) for _ in range(2)]

    def share(*limits: float | None) -> float:
        (row,) = goodput_rows(visits, Limits(*limits))
        assert row["goodput_per_s"] == pytest.approx(8 * row["good_share"])
        return float(row["good_share"])

    assert [share(5.0, 2.0), share(5.0, None), share(None, 2.0), share(0.5, None)] == [0.5, 0.75, 0.75, 0.0]
    (row,) = goodput_rows(visits, Limits())
    assert "good_share" not in row


def test_percentiles_are_over_all_its_requests_and_refused_where_these_are_few() -> None:
    visits = [visit("a", 8.0, [float(i + v) for i in range(300)], [1.0] * 300) for v in range(3)]
    (row,) = goodput_rows(visits, Limits())
    for percent in (50, 99):
        expected = percentile([v["ttft_ms"] for v in visits], percent)
        assert row[f"ttft_p{percent}_ms"] == expected.value
        assert (row[f"ttft_p{percent}_ms_low"], row[f"ttft_p{percent}_ms_high"]) == expected.interval
    (few,) = goodput_rows([visit("a", 8.0, [1.0] * 100, [1.0] * 100)], Limits())
    assert few["ttft_p50_ms"] == 1
    assert "ttft_p99_ms" not in few


def test_what_is_not_complete_does_not_count_and_caches_are_told() -> None:
    half = visit("a", 1.0, [1.0], [1.0], cached_tokens=30.0, prompt_tokens=40.0)
    rest = visit("a", 3.0, [1.0], [1.0], cached_tokens=0.0, prompt_tokens=60.0)
    (row,) = goodput_rows([half, rest, visit("b", 99.0, [1.0], [1.0], complete=False)], Limits())
    assert (row["requests_per_s"], row["configurations"], row["cached_share"]) == (1.5, 1, 0.3)  # a second, and a third
