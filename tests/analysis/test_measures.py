"""Tables of language models and batches whose every prefill and decoding step is known."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import scipy.stats

from generated_runs import EVEN_MS, MS, PLAN, Took, batched, even_cost, generated, load_generated
from raybench.analysis.significance import holm
from raybench.analysis.tables import Tables, write_derived
from raybench.model.weights import ModelSpec
from raybench.plan.plan import Configuration, Plan
from runs import measure

MEASURES = ["end_to_end", "ttft", "tpot"]


def three_clocks(c: Configuration, task: str, request: int, round_index: int) -> Took:
    """Other times by each clock, and 5 ms between the steps that are in none of them."""
    prefill_ms, step_ms = EVEN_MS[c.strategy]
    of_length = 1 + request % 3
    times = [round(step_ms * MS) * of_length * share for share in (1, 2, 6)]
    nudge = round_index * (1 + len(c.strategy))
    return Took(round(prefill_ms * MS) * of_length + nudge, [t + nudge for t in times], 0.5, 0.25, 5 * MS)


def noisy(seed: int, sd: float = 0.1) -> Callable[..., Took]:
    rng = np.random.default_rng(seed)

    def cost(c: Configuration, task: str, request: int, round_index: int) -> Took:
        prefill_ms, step_ms = EVEN_MS[c.strategy]
        spread = rng.lognormal(0, sd, 4)
        return Took(int(prefill_ms * MS * spread[0]), [int(step_ms * MS * one) for one in spread[1:]])

    return cost


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("three")
    return Tables(generated(load_generated(folder), folder / "results", three_clocks))


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("noise")
    return Tables(generated(load_generated(folder, rounds=6), folder / "results", noisy(7)))


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("batches")
    return Tables(generated(load_generated(folder, batched([1, 8])), folder / "results", even_cost))


def one(tables: Tables, sql: str) -> dict[str, Any]:
    (row,) = tables.rows(sql)
    return row


def test_known_prefills_and_steps_come_out_of_every_table(tmp_path: Path) -> None:
    def cost(c: Configuration, task: str, request: int, round_index: int) -> Took:
        return Took(10 * MS, [MS, 2 * MS, 6 * MS], 0.5, 0.25, between=5 * MS)

    tables = Tables(generated(load_generated(tmp_path), tmp_path, cost))
    row = one(tables, "FROM by_configuration WHERE configuration = 'lora_mrpc'")
    assert (row["n"], row["mean_ms"], row["host_ms"], row["device_ms"]) == (12, 24.0, 9.5, 4.75)
    assert (row["batch"], row["ttft_ms"], row["tpot_ms"], row["output_tokens"]) == (1, 10.0, 3.0, 4.0)
    assert row["tokens_per_second"] == pytest.approx(4 / 0.024, rel=1e-12)
    parts = tables.rows("FROM by_measure WHERE configuration = 'lora_mrpc'")
    columns = ("measure", "n", "mean_ms", "median_ms", "sd_ms", "host_ms", "device_ms")
    assert [tuple(p[c] for c in columns) for p in parts] == [
        ("end_to_end", 12, 24.0, 24.0, 0.0, 9.5, 4.75),
        ("ttft", 12, 10.0, 10.0, 0.0, 5.0, 2.5),
        ("tpot", 12, 3.0, 3.0, 0.0, 1.5, 0.75),
    ]
    row = one(tables, "SELECT DISTINCT wall_ms, ttft_ms, tpot_ms, batch, output_tokens FROM latencies")
    assert list(row.values()) == [24.0, 10.0, 3.0, 1, 4]
    row = one(tables, "FROM deployments WHERE deployment = 'LoRA Separate'")
    assert (row["n"], row["mean_ms"], row["ttft_ms"], row["tpot_ms"]) == (24, 24.0, 10.0, 3.0)
    assert (row["prompts_per_second"], row["tokens_per_second"]) == pytest.approx((1 / 0.024, 4 / 0.024), rel=1e-12)
    percentiles = tables.rows("FROM percentiles WHERE configuration = 'multi' AND percentile = 50")
    assert [(r["measure"], r["ms"], r["n"]) for r in percentiles] == [
        ("end_to_end", 24.0, 12),
        ("ttft", 10.0, 12),
        ("tpot", 3.0, 12),
    ]


@pytest.mark.parametrize("clock", ["wall", "host", "device", "wall median", "host median", "device median"])
@pytest.mark.parametrize(("measure", "part"), [("ttft", 0), ("tpot", 1)])
def test_the_overhead_of_each_part_by_each_clock_is_what_was_put_in(
    three: Tables, measure: str, part: int, clock: str
) -> None:
    rows = three.rows(f"FROM overhead WHERE measure = '{measure}' AND clock = '{clock}' AND via IS NULL")
    assert len(rows) == 9
    for row in rows:
        compared, reference = (
            next(EVEN_MS[c.strategy][part] for c in three.description.configurations if c.deployment == deployment)
            for deployment in (
                row["deployment"],
                {"full_ft": "Full FT"}.get(row["reference_strategy"], "LoRA Separate"),
            )
        )
        assert row["ratio"] == pytest.approx(compared / reference, rel=1e-5)


def test_the_whole_request_has_what_lies_between_its_steps(three: Tables) -> None:
    """Requests are one, two and three times as long: ratios of means, of which 5 ms are the same in all."""
    row = one(three, "FROM overhead WHERE measure = 'end_to_end' AND clock = 'wall' AND configuration = 'lora_mrpc'")
    lengths = [1 + request % 3 for request in range(12)]
    by_round = [sum(lengths[r : r + 4]) / 4 for r in (0, 4, 8)]
    ratios = [(length * (12 + 9 * 2.6) + 5) / (length * (10 + 9 * 2) + 5) for length in by_round]
    assert row["ratio"] == pytest.approx(math.prod(ratios) ** (1 / 3), rel=1e-5)
    assert row["compared_ms"] / row["reference_ms"] == pytest.approx(row["ratio"], rel=1e-12)


def test_requests_without_a_decoding_step_have_no_time_per_output_token(tmp_path: Path) -> None:
    def cost(c: Configuration, task: str, request: int, round_index: int) -> Took:
        return Took(10 * MS + round_index, [2 * MS + round_index] * (3 * (request % 2)))

    tables = Tables(generated(load_generated(tmp_path), tmp_path, cost))
    rows = tables.rows("SELECT measure, n FROM by_measure WHERE configuration = 'fullft_mrpc'")
    assert [(r["measure"], r["n"]) for r in rows] == [("end_to_end", 12), ("ttft", 12), ("tpot", 6)]
    row = one(tables, "FROM by_configuration WHERE configuration = 'fullft_mrpc'")
    assert (row["output_tokens"], row["tpot_ms"]) == (2.5, 2 + 1e-6)
    assert {r["tpot_ms"] is None for r in tables.rows("FROM latencies WHERE request % 2 = 0")} == {True}
    row = one(tables, "FROM by_strategy WHERE deployment = 'LoRA Merged' AND measure = 'tpot' AND claim LIMIT 1")
    assert (row["n"], row["mean_ms"]) == (12, 2 + 1e-6)

    def of_one_token(c: Configuration, task: str, request: int, round_index: int) -> Took:
        return Took(10 * MS + round_index, [])

    tables = Tables(generated(load_generated(tmp_path), tmp_path, of_one_token, "single"))
    for table in ("by_measure", "visit_ratios", "by_strategy", "overhead", "significance", "percentiles", "by_axis"):
        assert {r["measure"] for r in tables.rows(f"SELECT DISTINCT measure FROM {table}")} == {"end_to_end", "ttft"}


def test_all_measures_by_one_clock_are_one_family(noise: Tables) -> None:
    for table, names in (("by_strategy", ["deployment"]), ("overhead", ["configuration"])):
        for clock in ("wall", "host median"):
            rows = noise.rows(f"FROM {table} WHERE clock = '{clock}' AND ratio IS NOT NULL")
            assert {r["measure"] for r in rows} == set(MEASURES)
            claims: dict[Any, float] = {}
            for r in rows:
                other = r.get("reference_deployment") or r["configuration"].replace("fullft", "lora")
                mine = r[names[0]] if table == "by_strategy" else r["configuration"].replace("fullft", "lora")
                via = r["reference_strategy"] if table == "overhead" and "multi" in r["configuration"] else ""
                merged = r["reference_strategy"] if table == "overhead" and "merged" in r["configuration"] else ""
                claims[frozenset([mine, other]), r["measure"], via, merged] = r["p"]
            adjusted = dict(zip(claims, holm(list(claims.values())), strict=True))
            assert len(claims) == 15 if table == "by_strategy" else 24
            assert sorted({r["p_holm"] for r in rows}) == pytest.approx(sorted(set(adjusted.values())), rel=1e-9)


def test_tests_of_each_measure_agree_with_scipy_computed_apart(noise: Tables) -> None:
    raw = noise.query("FROM samples").to_pylist()
    parts: dict[str, Callable[[dict[str, Any]], float]] = {
        "end_to_end": lambda r: r["wall_ns"],
        "ttft": lambda r: r["prefill_wall_ns"],
        "tpot": lambda r: float(np.mean(r["decode_wall_ns"])),
    }

    def mean(configuration: str, part: Callable[[dict[str, Any]], float], round_index: int | None) -> float:
        mine = [r for r in raw if (r["configuration"], r["block"]) == (configuration, "mrpc_seed42")]
        return float(np.mean([part(r) for r in mine if round_index in (None, r["round"])]))

    for name, part in parts.items():
        d = [math.log(mean("lora_mrpc", part, r) / mean("fullft_mrpc", part, r)) for r in range(6)]
        expected = scipy.stats.ttest_1samp(d, 0)
        row = one(noise, f"FROM overhead WHERE clock = 'wall' AND measure = '{name}' AND configuration = 'lora_mrpc'")
        assert row["p"] == pytest.approx(expected.pvalue, rel=1e-6)
        assert row["ratio"] == pytest.approx(math.exp(np.mean(d)), rel=1e-9)
        assert row["compared_ms"] / row["reference_ms"] == pytest.approx(row["ratio"], rel=1e-9)
    rows = noise.rows("FROM significance WHERE deployment = 'LoRA Separate' AND reference_strategy = 'full_ft'")
    assert [r["measure"] for r in rows] == MEASURES
    means = {(r["configuration"], r["measure"]): r["mean_ms"] for r in noise.rows("FROM by_measure")}
    for row in rows:
        pairs = [[means[f"{c}_{t}", row["measure"]] for t in ("mrpc", "sst2")] for c in ("lora", "fullft")]
        study = scipy.stats.ttest_rel(*pairs)
        assert (row["study_pairs"], row["study_t"]) == (2, pytest.approx(study.statistic, rel=1e-9))
    units = {(r["measure"], r["p"]) for r in noise.rows("FROM by_strategy WHERE clock = 'wall' AND ratio IS NOT NULL")}
    assert {(r["measure"], r["p"]) for r in noise.rows("FROM significance")} == units


def test_the_widest_claim_is_that_of_any_measure(noise: Tables) -> None:
    rows = noise.rows("FROM by_strategy WHERE clock = 'wall' AND claim AND ratio IS NOT NULL")
    widths = {m: max(r["high"] / r["ratio"] - 1 for r in rows if r["measure"] == m) for m in MEASURES}
    assert noise.verdicts.widest_claims()[-1] == pytest.approx(max(widths.values()), rel=1e-9)
    assert widths["end_to_end"] < max(widths.values())


def test_tokens_a_second_change_by_the_inverse_of_the_time(noise: Tables) -> None:
    times = {
        (r["deployment"], r["reference_strategy"]): r
        for r in noise.rows("FROM by_strategy WHERE clock = 'wall' AND measure = 'end_to_end'")
    }
    rows = noise.rows("FROM throughput")
    assert len(rows) == len(times) == 8
    for row in rows:
        time = times[row["deployment"], row["reference_strategy"]]
        assert (row["verdict"], row["reference_deployment"]) == (time["verdict"], time["reference_deployment"])
        if time["ratio"] is None:
            assert (row["ratio"], row["low"], row["high"]) == (None, None, None)
        else:
            found = (row["ratio"], row["low"], row["high"])
            assert found == pytest.approx((1 / time["ratio"], 1 / time["high"], 1 / time["low"]), rel=1e-12)
    means = {r["deployment"]: r["mean_ms"] for r in noise.rows("FROM deployments")}
    for row in rows:
        assert row["tokens_per_second"] == pytest.approx(4e3 / means[row["deployment"]], rel=1e-12)


def test_one_visit_leaves_tokens_a_second_unbounded(tmp_path: Path) -> None:
    tables = Tables(generated(load_generated(tmp_path, rounds=1), tmp_path, even_cost))
    row = one(tables, "FROM throughput WHERE deployment = 'LoRA Separate' AND ratio IS NOT NULL")
    assert (row["low"], row["high"], row["verdict"]) == (0.0, math.inf, "inconclusive")


def test_each_batch_is_a_row_with_a_reference_of_its_own(batches: Tables) -> None:
    rows = batches.rows("FROM by_axis WHERE measure = 'tpot' AND strategy = 'lora_separate'")
    found = [(r["deployment"], r["batch"], r["adapters"], r["reference_deployment"], r["n"]) for r in rows]
    assert found == [("LoRA Separate", 1, 1, "Full FT", 24), ("LoRA Separate (batch 8)", 8, 1, "Full FT (batch 8)", 24)]
    for row in rows:
        assert row["ratio"] == pytest.approx(1.3, rel=1e-3)
        assert row["mean_ms"] == pytest.approx(2.6, rel=1e-3)
        assert row["tokens_per_second"] == pytest.approx(4 * row["prompts_per_second"], rel=1e-12)
        assert row["prompts_per_second"] == pytest.approx(row["batch"] / 0.0198, rel=1e-3)
    assert {r["batch"]: r["tokens_per_second"] for r in batches.rows("FROM by_configuration")}[8] == pytest.approx(
        4 * 8 / 0.016, rel=0.5
    )
    axes = ("dtype", "adapter_dtype", "kv_cache", "quantization", "routing")
    assert {tuple(r[a] for a in axes) for r in batches.rows("FROM by_axis")} == {
        ("auto", "float32", "dynamic", None, "round_robin")
    }
    strategies = [r["strategy"] for r in batches.rows("FROM by_axis")]
    assert list(dict.fromkeys(strategies)) == ["full_ft", "lora_separate", "lora_merged", "multi_lora"]
    rows = batches.rows(
        "SELECT DISTINCT deployment, reference_strategy, reference_deployment FROM by_strategy ORDER BY ALL"
    )
    assert {
        (r["deployment"].endswith("8)"), r["reference_deployment"].endswith("8)"))
        for r in rows
        if r["reference_deployment"]
    } == {(False, False), (True, True)}


def test_a_pair_and_its_mirror_are_one_claim_at_each_batch(batches: Tables) -> None:
    """5 pairs at 2 batches by 3 measures: were a mirror taken for another claim, p would be adjusted for more."""
    rows = batches.rows("FROM by_strategy WHERE clock = 'wall' AND ratio IS NOT NULL")
    assert len(rows) == 36
    pairs = {(frozenset([r["deployment"], r["reference_deployment"]]), r["measure"]): r["p"] for r in rows}
    assert len(pairs) == 30
    assert min(r["p_holm"] / r["p"] for r in rows if r["p"] == min(pairs.values())) == pytest.approx(30, rel=1e-9)


def test_where_an_axis_differs_within_a_row_it_is_null(tmp_path: Path) -> None:
    text = batched([1, 8]).replace('strategy = "lora_merged"', 'strategy = "lora_merged"\nrole = "mine"')
    tables = Tables(generated(load_generated(tmp_path, text), tmp_path, even_cost))
    (row,) = tables.rows(
        "SELECT DISTINCT strategy, deployment, batch, dtype, adapters FROM by_axis WHERE strategy = 'mine'"
    )
    assert row == {"strategy": "mine", "deployment": "mine", "batch": None, "dtype": "auto", "adapters": 1}


def test_a_mixed_batch_is_compared_with_each_of_its_counterparts_once(tmp_path: Path) -> None:
    multi = '[[configurations]]\nname = "multi"'
    text = batched([2]).replace('[[configurations]]\nname = "multi_b{batch}"', f'{multi}\nrouting = "mixed"')
    plan = load_generated(tmp_path, text)
    assert plan.blocks[-1].mixed_tasks == ("mrpc", "sst2")
    tables = Tables(generated(plan, tmp_path, even_cost))
    rows = tables.rows("FROM visit_ratios WHERE configuration = 'multi' ORDER BY measure, round")
    assert [r["n"] for r in rows] == [4] * 9
    row = one(
        tables, "FROM overhead WHERE clock = 'wall' AND measure = 'ttft' AND configuration = 'multi' AND via IS NULL"
    )
    assert row["ratio"] == pytest.approx(13 / 12, rel=1e-3)


def test_what_merging_changes_of_the_answers_stands_beside_its_time(tmp_path: Path) -> None:
    merged = {"gate_error": 0.013, "gate_tolerance": 0.05, "argmax_agreement": 0.992, "kl_divergence": 4e-4}
    untied = {"untied_bytes": 131_000_000}
    quantized = {"gate_error": 0.2, "argmax_agreement": 0.5, "kl_divergence": 0.25}
    loads = {"lora_merged": merged | untied, "multi_lora": quantized, "lora_separate": {"adapter_effect": 0.4}}
    tables = Tables(generated(load_generated(tmp_path), tmp_path, even_cost, loads=loads))
    assert tables.rows("FROM fidelity") == [
        {"deployment": "LoRA Merged", "gate_error": pytest.approx(0.013), "gate_error_max": 0.013}
        | {"gate_tolerance": 0.05, "argmax_agreement": pytest.approx(0.992), "kl_divergence": pytest.approx(4e-4)}
        | {"untied_mb": 131.0},
        {"deployment": "Multi-adapter (2)", "gate_error": pytest.approx(0.2), "gate_error_max": 0.2}
        | {"gate_tolerance": None, "argmax_agreement": 0.5, "kl_divergence": 0.25, "untied_mb": None},
    ]


def test_a_classifier_has_one_measure_and_nothing_of_a_language_model(
    known_latencies: Callable[..., None], load_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    costs = {"full_ft": 4, "lora_separate": 5, "lora_merged": 4.02, "multi_lora": 5.5}
    known_latencies({name: lambda t, c, ms=ms: (MS, int(ms * MS), None) for name, ms in costs.items()})
    tables = Tables(measure(load_plan(rounds=3), tmp_path))
    for table in ("measures", "by_measure", "visit_ratios", "by_strategy", "overhead", "percentiles", "by_axis"):
        assert tables.rows(f"SELECT DISTINCT measure FROM {table}") == [{"measure": "end_to_end"}]
    columns = ("ttft_ms", "tpot_ms", "output_tokens", "tokens_per_second")
    assert {r[c] for r in tables.rows("FROM by_configuration") for c in columns} == {None}
    assert {r["batch"] for r in tables.rows("FROM by_configuration")} == {1}
    assert tables.rows("FROM throughput") == []
    row = one(tables, "FROM by_axis WHERE deployment = 'LoRA Separate'")
    assert (row["prompts_per_second"], row["tokens_per_second"]) == (200.0, None)


def test_a_classifiers_batches_are_an_axis_too(tmp_path: Path) -> None:
    lengths = "[workload]\nprompt_tokens = 5\noutput_tokens = 4\n"
    text = batched([1, 4]).replace(lengths, "").replace('task_type = "CAUSAL_LM"\n', "")
    plan = load_generated(tmp_path, text)

    def cost(c: Configuration, task: str, request: int, round_index: int) -> dict[str, int]:
        ns = round(EVEN_MS[c.strategy][0] * MS) * (1 + c.batch) // 2 + round_index * len(c.strategy)
        return {"host_ns": ns, "wall_ns": ns}

    tables = Tables(generated(plan, tmp_path, cost, model=ModelSpec("micro", "preset_device")))
    rows = tables.rows("FROM by_axis WHERE strategy = 'lora_separate' AND reference_strategy = 'full_ft'")
    assert [(r["batch"], r["measure"]) for r in rows] == [(1, "end_to_end"), (4, "end_to_end")]
    assert [r["mean_ms"] for r in rows] == pytest.approx([12, 30], rel=1e-5)
    assert [r["prompts_per_second"] for r in rows] == pytest.approx([1 / 0.012, 4 / 0.030], rel=1e-5)
    assert [r["ratio"] for r in rows] == pytest.approx([1.2, 1.2], rel=1e-5)


def test_any_duckdb_reads_the_views_of_a_language_model(noise: Tables) -> None:
    write_derived(noise)
    with duckdb.connect() as connection:
        connection.execute("SET VARIABLE raybench_run = ?", [str(noise.root)])
        connection.execute((noise.root / "views.sql").read_text())
        for name in ("measures", "by_measure", "throughput", "by_axis", "fidelity", "percentiles"):
            query = f"FROM {name} ORDER BY ALL"
            assert connection.sql(query).to_arrow_table().equals(noise.query(query))


@pytest.mark.parametrize("apart", [0, 1, 10**7])
def test_deviations_are_those_of_whole_numbers_added_up_without_error(tmp_path: Path, apart: int) -> None:
    rng = np.random.default_rng(7)
    taken: dict[str, list[int]] = defaultdict(list)

    def cost(c: Configuration, task: str, request: int, round_index: int) -> Took:
        took = Took(10**10 + int(rng.integers(0, apart + 1)), [3, 10**9 + int(rng.integers(0, apart + 1))])
        if c.name == "multi":
            taken["end_to_end"].append(took.row()["wall_ns"])
            taken["ttft"].append(took.prefill)
            taken["tpot"].append(took.steps[1] + 3)
        return took

    tables = Tables(generated(load_generated(tmp_path), tmp_path, cost))
    found = {row["measure"]: row["sd_ms"] for row in tables.rows("FROM by_measure WHERE configuration = 'multi'")}
    for name, times in taken.items():
        scale = 2 * MS if name == "tpot" else MS
        assert found[name] == pytest.approx(math.sqrt(statistics.variance(map(Fraction, times))) / scale, rel=1e-15)


def test_times_as_long_as_can_be_written_break_no_table(tmp_path: Path) -> None:
    longest = 2**62

    def cost(c: Configuration, task: str, request: int, round_index: int) -> dict[str, Any]:
        return Took(longest, [longest, 1]).row() | {"wall_ns": 2**63 - 1 - request, "host_ns": 1, "batch": 2**31 - 1}

    tables = Tables(generated(load_generated(tmp_path), tmp_path, cost))
    for name in ("by_configuration", "by_measure", "deployments", "by_axis", "throughput", "by_strategy", "latencies"):
        assert tables.rows(f"FROM {name}")
    row = one(tables, "FROM by_configuration WHERE configuration = 'multi'")
    assert row["tpot_ms"] == pytest.approx(longest / 2e6, rel=1e-9)


def test_the_tables_say_which_model_it_was(noise: Tables) -> None:
    row = one(noise, "FROM run")
    assert (row["model"], row["task_type"]) == ("micro-lm", "CAUSAL_LM")
    assert PLAN.count("CAUSAL_LM") == 1
