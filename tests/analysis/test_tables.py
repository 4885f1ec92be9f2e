"""Tables of runs whose truth is known."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats

from fake_device import make_known, uneven
from raybench.analysis.percentiles import samples_needed
from raybench.analysis.tables import VIEW_FILES, Tables, views_sql, write_derived
from raybench.plan.plan import Plan
from raybench.records import InputError, RaybenchError
from raybench.store.store import RunStore, StoreError
from runs import judge_anew, measure
from small_plans import load_small

MS = 1_000_000
Known = Callable[..., None]
LoadPlan = Callable[..., Plan]


def constant(wall_ms: float, host_ms: float | None = None, device_ms: float | None = None) -> Callable[..., tuple]:
    host = wall_ms if host_ms is None else host_ms
    device = None if device_ms is None else round(device_ms * MS)
    return lambda tokens, calls: (round(host * MS), round(wall_ms * MS), device)


KNOWN = {
    "full_ft": constant(4, 3, 2),
    "lora_separate": constant(5, 4.5, 2.2),
    "lora_merged": constant(4.02, 3, 2),
    "multi_lora": constant(5.5, 4.5, 2.2),
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Full 4 ms, separate 5 ms, merged 4.02 ms, multi 5.5 ms with a switch of 1 ms: the same in every visit."""
    folder = tmp_path_factory.mktemp("known")
    with pytest.MonkeyPatch.context() as patch:
        make_known(patch, KNOWN, switch_ns=MS)
        return measure(load_small(folder, rounds=3), folder)


@pytest.fixture
def known_run(measured: Path, tmp_path: Path) -> Path:
    """A copy of ``measured``, to be changed."""
    return shutil.copytree(measured, tmp_path / "results" / "run")


@pytest.fixture(scope="module")
def known(measured: Path) -> Tables:
    return Tables(measured)


@pytest.fixture(scope="module")
def uneven_tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Of the same run but for a few nanoseconds, so that visits differ and have verdicts."""
    folder = tmp_path_factory.mktemp("uneven")
    with pytest.MonkeyPatch.context() as patch:
        make_known(patch, {name: uneven(cost) for name, cost in KNOWN.items()}, switch_ns=MS)
        return Tables(measure(load_small(folder, rounds=3), folder))


def one(tables: Tables, sql: str) -> dict:
    (row,) = tables.rows(sql)
    return row


def test_a_known_latency_comes_out_of_every_table_exactly(known: Tables) -> None:
    row = one(known, "SELECT * FROM by_configuration WHERE configuration = 'lora_mrpc_seed42'")
    assert (row["n"], row["mean_ms"], row["median_ms"], row["p95_ms"], row["sd_ms"]) == (12, 5.0, 5.0, None, 0.0)
    assert (row["host_ms"], row["device_ms"], row["requests_per_second"]) == (4.5, 2.2, 200.0)
    multi = one(known, "SELECT * FROM by_configuration WHERE configuration = 'multi_lora_2_adapters'")
    assert multi["requests_per_second"] == pytest.approx(1000 / 6.5, rel=1e-12)
    switches = known.rows("SELECT adapter, n, mean_ms, share_of_request FROM adapter_switch")
    assert switches == [
        {"adapter": name, "n": 6, "mean_ms": 1.0, "share_of_request": 1 / 5.5}
        for name in ("mrpc_seed42", "sst2_seed42")
    ]


def test_a_p95_is_given_only_where_the_samples_carry_it(
    known_latencies: Known, load_plan: LoadPlan, tmp_path: Path
) -> None:
    known_latencies({"full_ft": constant(4), "lora_separate": constant(5), "lora_merged": constant(4)})
    known_latencies({"multi_lora": constant(5)})
    samples = samples_needed(95)
    plan = load_plan(rounds=1, requests=samples)
    tables = Tables(measure(plan, tmp_path))
    row = one(tables, "SELECT n, p95_ms FROM by_configuration WHERE configuration = 'lora_mrpc_seed42'")
    assert row == {"n": samples, "p95_ms": 5.0}
    fewer = Tables(measure(load_plan(rounds=1, requests=samples - 1), tmp_path, "fewer"))
    row = one(fewer, "SELECT n, p95_ms FROM by_configuration WHERE configuration = 'lora_mrpc_seed42'")
    assert row == {"n": samples - 1, "p95_ms": None}


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        ("wall", 5 / 4),
        ("host", 4.5 / 3),
        ("device", 2.2 / 2),
        ("wall median", 5 / 4),
        ("host median", 4.5 / 3),
        ("device median", 2.2 / 2),
    ],
)
def test_the_overhead_by_each_clock_is_the_ratio_that_was_put_in(
    uneven_tables: Tables, clock: str, expected: float
) -> None:
    rows = uneven_tables.rows(f"SELECT * FROM overhead WHERE clock = '{clock}' AND deployment = 'LoRA Separate'")
    assert [r["configuration"] for r in rows] == ["lora_mrpc_seed42", "lora_sst2_seed42"]
    for row in rows:
        assert (row["ratio"], row["low"], row["high"]) == pytest.approx((expected,) * 3, rel=1e-5)
        assert (row["verdict"], row["visits"]) == ("slower", 3)


def test_the_study_table_has_its_rows_and_verdicts(uneven_tables: Tables) -> None:
    rows = uneven_tables.rows("SELECT * FROM by_strategy WHERE clock = 'wall'")
    ratios = {(r["deployment"], r["reference_strategy"]): (r["ratio"], r["verdict"]) for r in rows}
    assert ratios["LoRA Separate", "full_ft"] == (pytest.approx(1.25, rel=1e-6), "slower")
    assert ratios["Full FT", "lora_separate"] == (pytest.approx(0.8, rel=1e-6), "faster")
    assert ratios["LoRA Merged", "full_ft"] == (pytest.approx(1.005, rel=1e-6), "equivalent")
    assert ratios["Multi-adapter (2)", "lora_separate"] == (pytest.approx(1.1, rel=1e-6), "slower")
    # Never measured together: 1.1 against separate, which is 1.25 against full.
    assert ratios["Multi-adapter (2)", "full_ft"] == (pytest.approx(1.375, rel=1e-6), "slower")
    assert ratios["Full FT", "full_ft"] == (None, None)


def test_guests_are_compared_with_but_are_not_samples_of_their_configuration(known: Tables) -> None:
    assert one(known, "SELECT count(*) AS n FROM timed WHERE configuration = 'lora_mrpc_seed42'") == {"n": 12 + 6}
    assert one(known, "SELECT n FROM by_configuration WHERE configuration = 'lora_mrpc_seed42'") == {"n": 12}


def test_warmups_and_openers_are_kept_and_enter_no_table(
    known_latencies: Known, load_plan: LoadPlan, tmp_path: Path
) -> None:
    # Two probes of the gate and one forward for memory, then one warm-up, then an opener before each timed request.
    def cost(tokens: int, calls: int) -> tuple[int, int, None]:
        timed = calls >= 4 and calls % 2 == 1
        return (MS, 4 * MS if timed else 999 * MS, None)

    known_latencies({"full_ft": cost, "lora_separate": constant(5), "lora_merged": constant(4)})
    known_latencies({"multi_lora": constant(5)})
    tables = Tables(measure(load_plan(rounds=2), tmp_path))
    counts = tables.rows(
        "SELECT phase, count(*) AS n FROM samples WHERE block = 'mrpc_seed42' GROUP BY ALL ORDER BY ALL"
    )
    assert counts == [{"phase": "opener", "n": 24}, {"phase": "timed", "n": 24}, {"phase": "warmup", "n": 6}]
    full = tables.rows(
        "SELECT DISTINCT phase, wall_ns FROM samples WHERE configuration = 'fullft_mrpc_seed42' ORDER BY 1"
    )
    assert [(r["phase"], r["wall_ns"]) for r in full] == [
        ("opener", 999 * MS),
        ("timed", 4 * MS),
        ("warmup", 999 * MS),
    ]
    row = one(tables, "SELECT mean_ms FROM by_configuration WHERE configuration = 'fullft_mrpc_seed42'")
    assert row == {"mean_ms": 4.0}


def test_intervals_and_tests_agree_with_scipy_computed_apart(
    known_latencies: Known, load_plan: LoadPlan, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    noisy = lambda ms: lambda tokens, calls: (MS, int(ms * MS * (1 + tokens / 500) * rng.lognormal(0, 0.1)), None)  # noqa: E731
    known_latencies({"full_ft": noisy(4), "lora_separate": noisy(5), "lora_merged": noisy(4), "multi_lora": noisy(5)})
    tables = Tables(measure(load_plan(rounds=6), tmp_path))
    raw = tables.query("SELECT * FROM samples").to_pylist()

    def mean(configuration: str, round_index: int) -> float:
        return float(
            np.mean(
                [
                    r["wall_ns"]
                    for r in raw
                    if r["configuration"] == configuration
                    and r["round"] == round_index
                    and r["phase"] == "timed"
                    and r["block"] == "sst2_seed42"
                ]
            )
        )

    d = [math.log(mean("lora_sst2_seed42", r) / mean("fullft_sst2_seed42", r)) for r in range(6)]
    expected = scipy.stats.ttest_1samp(d, 0)
    interval = expected.confidence_interval(0.95)
    row = one(tables, "SELECT * FROM overhead WHERE clock = 'wall' AND configuration = 'lora_sst2_seed42'")
    assert row["ratio"] == pytest.approx(math.exp(np.mean(d)), rel=1e-9)
    assert (row["low"], row["high"]) == pytest.approx((math.exp(interval.low), math.exp(interval.high)), rel=1e-9)
    assert row["p"] == pytest.approx(expected.pvalue, rel=1e-9)
    # The study's own test: paired over (task, seed), on the means of all samples.
    means = {r["configuration"]: r["mean_ms"] for r in tables.rows("SELECT * FROM by_configuration")}
    study = scipy.stats.ttest_rel(
        [means["lora_mrpc_seed42"], means["lora_sst2_seed42"]],
        [means["fullft_mrpc_seed42"], means["fullft_sst2_seed42"]],
    )
    found = one(
        tables, "SELECT * FROM significance WHERE deployment = 'LoRA Separate' AND reference_strategy = 'full_ft'"
    )
    assert (found["study_t"], found["study_p"]) == pytest.approx((study.statistic, study.pvalue), rel=1e-9)
    assert found["study_pairs"] == 2


def test_a_pair_and_its_mirror_are_one_claim_for_holm(
    known_latencies: Known, load_plan: LoadPlan, tmp_path: Path
) -> None:
    rng = np.random.default_rng(6)
    noisy = lambda ms: lambda tokens, calls: (MS, int(ms * MS * rng.lognormal(0, 0.1)), None)  # noqa: E731
    known_latencies(
        {"full_ft": noisy(4), "lora_separate": noisy(4.4), "lora_merged": noisy(4), "multi_lora": noisy(4.4)}
    )
    rows = Tables(measure(load_plan(rounds=4), tmp_path)).rows("SELECT * FROM by_strategy WHERE clock = 'wall'")
    p = {(r["deployment"], r["reference_strategy"]): (r["p"], r["p_holm"]) for r in rows if r["p"] is not None}
    assert len(p) == 6
    assert p["Full FT", "lora_separate"] == pytest.approx(p["LoRA Separate", "full_ft"], rel=1e-9)
    assert min(v[0] for v in p.values()) * 5 == pytest.approx(min(v[1] for v in p.values()), rel=1e-9)


def test_the_independent_design_compares_across_visits(
    known_latencies: Known, load_plan: LoadPlan, tmp_path: Path
) -> None:
    known_latencies(
        {"full_ft": constant(4), "lora_separate": constant(5), "lora_merged": constant(4), "multi_lora": constant(5.5)}
    )
    tables = Tables(measure(load_plan(design="independent", rounds=3, requests=6), tmp_path))
    assert one(tables, "SELECT count(DISTINCT block) AS n FROM samples") == {"n": 7}
    rows = tables.rows("SELECT * FROM by_strategy WHERE clock = 'wall' AND reference_strategy = 'full_ft'")
    ratios = {r["deployment"]: r["ratio"] for r in rows}
    assert ratios["LoRA Separate"] == pytest.approx(1.25)
    assert ratios["Multi-adapter (2)"] == pytest.approx(1.375)


def test_one_launch_each_gives_no_verdict(known_latencies: Known, load_plan: LoadPlan, tmp_path: Path) -> None:
    known_latencies(
        {"full_ft": constant(4), "lora_separate": constant(5), "lora_merged": constant(4), "multi_lora": constant(5.5)}
    )
    plan = load_plan(design="independent")
    assert (plan.rounds, plan.requests) == (1, 8)
    tables = Tables(measure(plan, tmp_path))
    row = one(tables, "SELECT * FROM overhead WHERE clock = 'wall' AND configuration = 'lora_mrpc_seed42'")
    assert (row["ratio"], row["low"], row["high"], row["verdict"]) == (
        pytest.approx(1.25),
        0.0,
        math.inf,
        "inconclusive",
    )


def test_with_several_devices_the_interval_is_drawn_over_them(
    known_latencies: Known, load_plan: LoadPlan, tmp_path: Path
) -> None:
    known_latencies({name: uneven(cost) for name, cost in KNOWN.items()})
    tables = Tables(measure(load_plan(rounds=6), tmp_path, devices=2))
    assert one(tables, "SELECT count(DISTINCT device) AS n FROM visits") == {"n": 2}
    row = one(tables, "SELECT * FROM overhead WHERE clock = 'wall' AND configuration = 'lora_mrpc_seed42'")
    assert (row["visits"], row["verdict"]) == (6, "slower")


def test_a_failed_configuration_is_named_and_left_out_of_the_study_table(
    known_latencies: Known, load_plan: LoadPlan, tmp_path: Path
) -> None:
    def fails_later(tokens: int, calls: int) -> tuple[int, int, None]:
        if calls > 5:
            raise RuntimeError("device on fire")
        return (MS, 4 * MS, None)

    known_latencies(
        {"full_ft": constant(4), "lora_separate": constant(5), "lora_merged": fails_later, "multi_lora": constant(5)}
    )
    tables = Tables(measure(load_plan(rounds=3), tmp_path))
    status = {r["configuration"]: r for r in tables.rows("SELECT * FROM completeness")}
    assert [name for name, row in status.items() if not row["complete"]] == [
        "lora_merged_mrpc_seed42",
        "lora_merged_sst2_seed42",
    ]
    broken = status["lora_merged_mrpc_seed42"]
    assert (broken["rounds_done"], broken["rounds_planned"]) == (0, 3)
    assert broken["failure"].startswith("error: RuntimeError: device on fire")
    # What it measured before it failed is not half a round: it is gone, and the failure is recorded once.
    assert one(tables, "SELECT count(*) AS n FROM samples WHERE configuration LIKE 'lora_merged%'") == {"n": 0}
    assert one(tables, "SELECT count(*) AS n FROM failures") == {"n": 2}
    rows = tables.rows("SELECT * FROM by_strategy WHERE clock = 'wall'")
    assert {r["deployment"]: (r["complete"], r["configurations"]) for r in rows}["LoRA Separate"] == (2, 2)
    assert "LoRA Merged" not in {r["deployment"] for r in rows if r["ratio"] is not None}


def test_shuffling_rows_changes_no_table(known_latencies: Known, load_plan: LoadPlan, tmp_path: Path) -> None:
    noise = np.random.default_rng(5)
    known_latencies(
        {
            name: lambda tokens, calls, ms=ms: (MS, int(ms * MS * noise.lognormal(0, 0.05)), None)
            for name, ms in {"full_ft": 4, "lora_separate": 5, "lora_merged": 4, "multi_lora": 5.5}.items()
        },
        switch_ns=MS,
    )
    tables = Tables(measure(load_plan(rounds=6), tmp_path, devices=2))
    before = _contents(tables)
    connection, rng = tables.connection, np.random.default_rng(1)
    for name in ("samples", "visits", "loads", "failures", "attempts", "counts", "calibrations"):
        table = connection.sql(f"SELECT * FROM {name}").to_arrow_table()
        connection.register(f"shuffled_{name}", table.take(pa.array(rng.permutation(table.num_rows))))
        connection.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM shuffled_{name}")
    judge_anew(tables)
    assert _contents(tables) == before


def _contents(tables: Tables) -> dict[str, str]:
    """Every table that is derived from the raw ones, by its text: nan equals nan there."""
    raw = {
        "run",
        "configurations",
        "comparisons",
        "samples",
        "visits",
        "loads",
        "failures",
        "attempts",
        "counts",
        "calibrations",
        "timed",
        "measures",
    }
    names = {name for (name,) in tables.connection.sql("SELECT table_name FROM information_schema.tables").fetchall()}
    derived = sorted(name for name in names - raw if not name.startswith(("raybench_", "shuffled_")))
    assert {"overhead", "by_strategy", "significance", "percentiles", "diagnostics", "cautions"} < set(derived)
    return {name: repr(tables.rows(f"SELECT * FROM {name}")) for name in derived}


def test_any_duckdb_reads_a_run_without_raybench(known_run: Path, tmp_path: Path) -> None:
    tables = Tables(known_run)
    write_derived(tables)
    moved = tmp_path / "elsewhere" / "copy"
    shutil.copytree(known_run, moved)
    code = (
        "import duckdb, sys; c = duckdb.connect(); c.execute(open('views.sql').read());"
        "print(c.sql(\"SELECT mean_ms FROM by_configuration WHERE configuration = 'lora_mrpc_seed42'\").fetchall(),"
        " c.sql(\"SELECT round(ratio, 9) FROM by_strategy WHERE clock = 'wall' AND deployment = 'LoRA Separate'"
        " AND reference_strategy = 'full_ft'\").fetchall(), 'raybench' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=moved, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["[(5.0,)]", "[(1.25,)]", "False"]


def test_a_file_that_the_manifest_does_not_list_is_in_no_view(known_run: Path) -> None:
    listed = next((known_run / "samples").iterdir())
    before = Tables(known_run).rows("SELECT count(*) AS n FROM samples")
    shutil.copy(listed, listed.with_name(f"{listed.name[:8]}-deadbeef.parquet"))
    assert Tables(known_run).rows("SELECT count(*) AS n FROM samples") == before


def test_latencies_that_cannot_be_are_refused_at_read(known_run: Path) -> None:
    path = next((known_run / "samples").iterdir())
    table = pq.read_table(path)
    wall = table.column("wall_ns").to_pylist()
    wall[0] = -5
    index = table.schema.get_field_index("wall_ns")
    pq.write_table(table.set_column(index, table.schema.field(index), pa.array(wall, pa.int64())), path)
    with pytest.raises(StoreError, match=path.name):
        Tables(known_run)


def test_what_is_not_a_run_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run here"):
        Tables(tmp_path)


def test_a_wrong_query_is_explained(known: Tables) -> None:
    with pytest.raises(RaybenchError, match="nonsense"):
        known.query("SELECT nonsense FROM samples")


def test_every_view_states_its_question_and_columns() -> None:
    files, *views = views_sql().split("-- Question:")[1:]
    assert "CREATE OR REPLACE VIEW" not in files
    assert all("Columns" in block or "Views:" in block for block in views)
    assert len(views) == len(VIEW_FILES)


def test_an_empty_run_has_empty_tables(known_latencies: Known, load_plan: LoadPlan, tmp_path: Path) -> None:
    from raybench.deploy.strategies import all_traits
    from raybench.sweep.describe import describe
    from runs import MODEL, job_of

    plan = load_plan()
    # As a driver leaves it that died before it measured anything.
    RunStore.create(tmp_path, "empty", describe("empty", plan, job_of(plan).workload, MODEL, [], all_traits())).close()
    tables = Tables(tmp_path / "empty")
    assert one(tables, "SELECT bool_or(complete) AS any_complete, count(*) AS n FROM completeness") == {
        "any_complete": False,
        "n": 7,
    }
    assert tables.rows("SELECT * FROM overhead") == []
    assert isinstance(tables.connection, duckdb.DuckDBPyConnection)


@pytest.mark.parametrize("name", ["x[1]y", "a*b", "what?", "a\\b", "~", "file:x", "it's"])
def test_a_folder_whose_name_is_special_to_glob_is_read_all_the_same(measured: Path, tmp_path: Path, name: str) -> None:
    moved = tmp_path / name / "run"
    shutil.copytree(measured, moved)
    assert one(Tables(moved), "SELECT bool_and(complete) AS complete FROM completeness") == {"complete": True}
