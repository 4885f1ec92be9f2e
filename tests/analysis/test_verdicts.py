"""Verdicts of runs whose truth is known: claims, roles, delays, percentiles, cautions, stopping."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fake_device import FakeDevice
from generated_runs import Took, generated, load_generated
from raybench.analysis import stats
from raybench.analysis.claims import Compared, adjusted_p
from raybench.analysis.ratios import Timing
from raybench.analysis.significance import holm
from raybench.analysis.stats import Estimate
from raybench.analysis.tables import Tables
from raybench.deploy import strategies
from raybench.deploy.strategies import LoadCosts
from raybench.model.workload import glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.builder import Overrides
from raybench.plan.plan import Claim, Configuration, Plan
from runs import judge_anew, measure

MS = 1_000_000
Known = Callable[..., None]


def noisy(ms: float, rng: np.random.Generator, sd: float = 0.05) -> Callable[..., tuple]:
    return lambda tokens, calls: (MS, int(ms * MS * rng.lognormal(0, sd)), None)


@pytest.fixture
def noisy_costs(known_latencies: Known) -> None:
    rng = np.random.default_rng(3)
    known_latencies(
        {
            "full_ft": noisy(4, rng),
            "lora_separate": noisy(4.3, rng),
            "lora_merged": noisy(4, rng),
            "multi_lora": noisy(4.4, rng),
        }
    )


@pytest.mark.usefixtures("noisy_costs")
def test_claims_are_adjusted_for_each_other_only(load_plan: Callable[..., Plan], tmp_path: Path) -> None:
    claims = (Claim("lora_separate", "full_ft"), Claim("lora_merged", "full_ft"))
    plan = dataclasses.replace(load_plan(rounds=4), claims=claims)
    rows = Tables(measure(plan, tmp_path)).rows("FROM by_strategy WHERE clock = 'wall' AND p IS NOT NULL")
    claimed = [r for r in rows if r["claim"]]
    assert [(r["strategy"], r["reference_strategy"]) for r in claimed] == [
        ("lora_separate", "full_ft"),
        ("lora_merged", "full_ft"),
    ]
    assert [r["p_holm"] for r in claimed] == pytest.approx(holm([r["p"] for r in claimed]))
    # Full against separate is the first claim the other way round.
    mirror = next(r for r in rows if (r["strategy"], r["reference_strategy"]) == ("full_ft", "lora_separate"))
    assert mirror["p_holm"] == pytest.approx(claimed[0]["p_holm"])
    others = [r for r in rows if not r["claim"] and r is not mirror]
    assert len(others) == 3
    assert [r["p_holm"] for r in others] == pytest.approx(holm([r["p"] for r in others]))


def test_an_aa_run_of_equal_latencies_finds_nothing(known_latencies: Known, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    known_latencies({"lora_separate": noisy(5, rng)})
    plan, _ = plan_file.load_plan("aa", strategies.all_traits(), glue_tasks(), Overrides(rounds=4, requests=6))
    tables = Tables(measure(plan, tmp_path))
    rows = tables.rows("FROM overhead WHERE clock = 'wall'")
    assert len(rows) == 20
    assert {r["verdict"] for r in rows} <= {"equivalent", "inconclusive"}
    assert [(r["deployment"], r["complete"]) for r in tables.rows("FROM deployments")] == [("A", 20), ("B", 20)]


def test_what_is_inconclusive_says_how_many_more_rounds_it_would_take(
    known_latencies: Known, load_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    rng = np.random.default_rng(4)
    known_latencies({name: noisy(4, rng, 0.2) for name in ("full_ft", "lora_separate", "lora_merged", "multi_lora")})
    rows = Tables(measure(load_plan(rounds=3), tmp_path)).rows("FROM by_strategy WHERE clock = 'wall'")
    inconclusive = [r for r in rows if r["verdict"] == "inconclusive"]
    assert inconclusive
    assert all(r["more_rounds"] is None or r["more_rounds"] > 0 for r in inconclusive)
    assert any(r["more_rounds"] for r in inconclusive)
    assert all(r["more_rounds"] is None for r in rows if r["verdict"] != "inconclusive")


def test_percentiles_are_exact_where_known_and_refused_where_the_samples_cannot_carry_them(
    known_latencies: Known, load_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    constant = lambda tokens, calls: (MS, 4 * MS, None)  # noqa: E731
    known_latencies(dict.fromkeys(("full_ft", "lora_separate", "lora_merged", "multi_lora"), constant))
    rows = Tables(measure(load_plan(rounds=4, requests=10), tmp_path)).rows(
        "FROM percentiles WHERE configuration = 'fullft_mrpc_seed42' ORDER BY percentile"
    )
    assert [r["percentile"] for r in rows] == [50.0, 90.0, 95.0, 99.0, 99.9]
    assert (rows[0]["ms"], rows[0]["low_ms"], rows[0]["high_ms"], rows[0]["n"], rows[0]["visits"]) == (4, 4, 4, 40, 4)
    assert [r["ms"] for r in rows[1:]] == [None] * 4
    assert rows[3]["refused"] == "p99 needs 662 samples, there are 40"
    assert rows[4]["refused"] == "p99.9 needs 6,636 samples, there are 40"


def test_a_drift_over_the_run_becomes_a_caution_and_drops_nothing(
    known_latencies: Known, load_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    calls_so_far = [0]

    def drifting(tokens: int, calls: int) -> tuple[int, int, None]:
        calls_so_far[0] += 1
        return (MS, int(4 * MS * (1 + calls_so_far[0] / 200) * rng.lognormal(0, 0.01)), None)

    known_latencies(dict.fromkeys(("full_ft", "lora_separate", "lora_merged", "multi_lora"), drifting))
    tables = Tables(measure(load_plan(rounds=12), tmp_path))
    of_run = tables.rows("FROM cautions WHERE configuration IS NULL")
    (caution,) = [one for one in of_run if one["code"] not in ("busy_machine", "stolen_time")]
    assert caution["code"] == "drift"
    assert caution["hint"]
    assert tables.rows("SELECT n FROM by_configuration WHERE configuration = 'fullft_mrpc_seed42'") == [{"n": 48}]


@pytest.mark.usefixtures("noisy_costs")
def test_widths_after_each_round_are_those_of_a_run_of_that_length(
    load_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    tables = Tables(measure(load_plan(rounds=4), tmp_path))
    widths = tables.verdicts.widest_claims()
    assert len(widths) == 4
    assert widths[0] == float("inf")
    rows = tables.rows("FROM by_strategy WHERE clock = 'wall' AND claim AND ratio IS NOT NULL")
    assert widths[-1] == pytest.approx(max(r["high"] / r["ratio"] - 1 for r in rows), rel=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.005, 0.01, 0.02, 0.05, 0.35])
def test_a_delay_takes_its_share_longer_exactly(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeDevice()
    reads = [0]

    def clock() -> int:  # each look at the clock moves it: waiting ends
        reads[0] += 1
        device.now_ns += 1
        return device.now_ns

    class Weights:
        def __init__(self) -> None:
            self.device = device
            monkeypatch.setattr(device, "clock", clock, raising=False)

        def fine_tuned(self, configuration: object) -> Callable[..., str]:
            def model(**inputs: object) -> str:
                device.now_ns += 4 * MS
                return "logits"

            return model

    plan, _ = plan_file.load_plan("delays", strategies.all_traits(), glue_tasks())
    configuration = next(c for c in plan.configurations if c.strategy == "delay" and c.delay_share == share)
    deployment = strategies.Delay().load(configuration, Weights(), LoadCosts(device))  # type: ignore[arg-type]
    reads[0] = 0
    before = device.now_ns
    assert deployment.forward() == "logits"
    assert device.now_ns - before == pytest.approx(4 * MS * (1 + share), abs=3)
    before = device.now_ns
    assert (deployment.opener or deployment.forward)() == "logits"
    assert device.now_ns - before == 4 * MS
    assert (reads[0] == 0) == (share == 0)


def constant(ms: float) -> Callable[..., tuple]:
    return lambda tokens, calls: (MS, int(ms * MS), None)


def test_equal_visits_have_a_caution_and_neither_interval_nor_p_nor_verdict(
    known_latencies: Known, load_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    costs = {"full_ft": 4, "lora_separate": 5, "lora_merged": 4, "multi_lora": 5.5}
    known_latencies({name: constant(ms) for name, ms in costs.items()})
    tables = Tables(measure(load_plan(rounds=9), tmp_path))
    rows = tables.rows("FROM by_strategy WHERE ratio IS NOT NULL") + tables.rows("FROM overhead")
    assert {(r["verdict"], r["unknown"]) for r in rows} == {("inconclusive", "equal visits")}
    assert {r[key] for r in rows for key in ("low", "high", "p", "p_holm", "p_equivalence", "more_rounds")} == {None}
    tested = tables.rows("FROM significance")
    assert {r[key] for r in tested for key in ("t", "p", "p_holm", "study_t", "study_p")} == {None}
    assert {r["study_pairs"] for r in tested} == {2, None}
    cautions = tables.rows("FROM cautions")
    assert [r["configuration"] for r in cautions] == [r["name"] for r in tables.rows("SELECT name FROM configurations")]
    assert {(r["code"], r["message"]) for r in cautions} == {
        ("no_spread", "all 36 samples took the same time to the last digit")
    }
    numbers = [v for name in tables.derived for r in tables.rows(f"FROM {name}") for v in r.values()]
    assert all(np.isfinite(v) for v in numbers if isinstance(v, float))
    assert tables.verdicts.widest_claims() == [float("inf")] * 9  # a run that goes on until they are narrow goes on


def test_ratios_that_are_equal_have_a_caution_though_the_latencies_differ(
    known_latencies: Known, load_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    by_length = lambda ms: lambda tokens, calls: (MS, ms * tokens * MS, None)  # noqa: E731
    known_latencies({"full_ft": by_length(4), "lora_separate": by_length(5), "lora_merged": by_length(4)})
    rng = np.random.default_rng(3)
    known_latencies({"multi_lora": noisy(4.4, rng)})
    tables = Tables(measure(load_plan(rounds=4), tmp_path))
    cautions = {r["configuration"]: r["message"] for r in tables.rows("FROM cautions WHERE code = 'no_spread'")}
    assert cautions["lora_mrpc_seed42"] == (
        "the ratio to full_ft is the same to the last digit in all of 4 visits, by wall, host, wall median, "
        "host median, wall paired"
    )
    assert cautions["multi_lora_2_adapters"].endswith("by host, host median")
    row = tables.rows("FROM overhead WHERE clock = 'wall' AND configuration = 'multi_lora_2_adapters'")[0]
    # By way of ratios of which nothing is known, nothing is known.
    assert (row["reference_strategy"], row["unknown"], row["via"]) == ("full_ft", "equal visits", "lora_separate")


@pytest.mark.parametrize("devices", [1, 3])
@pytest.mark.parametrize("design", ["paired", "independent"])
def test_what_a_percentage_is_of_stands_beside_it(
    known_latencies: Known, load_plan: Callable[..., Plan], tmp_path: Path, devices: int, design: str
) -> None:
    """Visits differ by a half, and one task is slower: means of all samples give another percentage than the paired."""
    rng = np.random.default_rng(12)
    known_latencies(
        {
            name: lambda tokens, calls, ms=ms: (MS, int(ms * MS * tokens / 30 * rng.lognormal(0, 0.5)), None)
            for name, ms in {"full_ft": 4, "lora_separate": 5, "lora_merged": 4, "multi_lora": 5.5}.items()
        }
    )
    tables = Tables(measure(load_plan(rounds=6, design=design), tmp_path, devices=devices))
    for table in ("by_strategy", "overhead"):
        rows = tables.rows(f"FROM {table} WHERE ratio IS NOT NULL")
        for row in rows:
            if row["clock"] == "wall" and row["via"] is None:
                assert row["compared_ms"] / row["reference_ms"] == pytest.approx(row["ratio"], rel=1e-9)
            else:
                assert (row["compared_ms"], row["reference_ms"]) == (None, None)
        assert {row["via"] for row in rows} == {None, "lora_separate"}
    means = {r["strategy"]: r["mean_ms"] for r in tables.rows("FROM by_strategy WHERE clock = 'wall'")}
    (merged,) = tables.rows("FROM by_strategy WHERE clock = 'wall' AND claim AND strategy = 'lora_merged' LIMIT 1")
    assert abs(means["lora_merged"] / means[merged["reference_strategy"]] / merged["ratio"] - 1) > 0.005


def test_an_incomplete_counterpart_enters_no_mean_and_both_directions_say_the_same(tmp_path: Path) -> None:
    """Full FT of both tasks was measured to the end, LoRA Separate of one alone; of the other there is one visit."""

    def cost(configuration: Configuration, task: str, request: int, round_index: int) -> Took:
        slower = 1.2 if configuration.strategy == "lora_separate" else 1.0
        return Took(
            int(slower * MS * (1 + 0.01 * (round_index % 3))), [int(slower * MS * (1 + 0.02 * round_index))] * 3
        )

    tables = Tables(generated(load_generated(tmp_path, rounds=6), tmp_path / "runs", cost))
    samples = tables.connection.sql("FROM samples").to_arrow_table()
    tables.connection.register("all_samples", samples)
    tables.connection.execute(
        "CREATE OR REPLACE VIEW samples AS FROM all_samples WHERE NOT (configuration = 'lora_mrpc' AND round > 0)"
    )
    judge_anew(tables)
    (status,) = tables.rows("FROM completeness WHERE NOT complete")
    assert (status["configuration"], status["rounds_done"]) == ("lora_mrpc", 1)
    forth, back = (
        tables.rows(
            "FROM by_strategy WHERE clock = 'wall' AND measure = 'end_to_end' "
            f"AND strategy = '{of}' AND reference_strategy = '{against}'"
        )[0]
        for of, against in (("lora_separate", "full_ft"), ("full_ft", "lora_separate"))
    )
    assert (forth["visits"], back["visits"]) == (6, 6)
    assert forth["ratio"] == pytest.approx(1.2, rel=1e-6)
    assert back["ratio"] == pytest.approx(1 / forth["ratio"])
    assert back["compared_ms"] == pytest.approx(forth["reference_ms"])
    assert back["p_holm"] == pytest.approx(forth["p_holm"])


@pytest.mark.parametrize("untested_first", [False, True])
def test_what_has_one_visit_borrows_no_p_of_its_mirror(untested_first: bool) -> None:
    timing = Timing("end_to_end", "wall")
    tested = Compared({"clock": "wall"}, frozenset("ab"), "a", timing, True, Estimate(0.2, 0.01, 9, 10))
    one_visit = Compared(
        {"clock": "wall"}, frozenset("ab"), "b", timing, True, Estimate(-0.2, math.nan, 0, 1, unknown="one visit")
    )
    rows = [one_visit, tested] if untested_first else [tested, one_visit]
    p_holm = dict(zip([row.reference_strategy for row in rows], adjusted_p(rows), strict=True))
    assert p_holm["a"] == tested.estimate.p_value()
    assert math.isnan(p_holm["b"])


def test_of_one_visit_nothing_is_said_whatever_p_it_is_given() -> None:
    one_visit = Estimate(-0.2, math.nan, 0, 1, unknown="one visit")
    assert stats.verdict(one_visit, margin=0.02, adjusted_p=1e-9) == "inconclusive"
