"""Two runs whose latencies are known, compared."""

from __future__ import annotations

import argparse
import functools
import io
import itertools
import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats
import statsmodels.stats.multitest
import statsmodels.stats.weightstats
from rich.console import Console

from raybench import compare as module
from raybench.compare import RunComparison, compare, differences, show
from raybench.plan import Plan
from raybench.recorder import Recorder
from raybench.records import InputError
from raybench.tables import Tables
from runs import measure

MS = 1_000_000
USUAL = {"full_ft": 4.0, "lora_separate": 5.0, "lora_merged": 4.02, "multi_lora": 5.5}
STRATEGY = {"fullft": "full_ft", "lora_merged": "lora_merged", "lora": "lora_separate", "multi_lora": "multi_lora"}
Make = Callable[..., Path]
Edit = Callable[[Path, Callable[[dict[str, Any]], object]], Path]


def strategy_of(configuration: str) -> str:
    return next(STRATEGY[k] for k in ("fullft", "lora_merged", "multi_lora", "lora") if configuration.startswith(k))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """Where runs are measured, and those that are there."""
    return tmp_path_factory.mktemp("made"), {}


@pytest.fixture
def make(
    made: tuple[Path, dict[str, Path]],
    known_latencies: Callable[..., None],
    load_plan: Callable[..., Plan],
    monkeypatch: pytest.MonkeyPatch,
) -> Make:
    """Make a run: latencies in ms by strategy; ``noise`` (sd of log latency) from ``seed``, ``per_token`` shared."""
    monkeypatch.setattr("raybench.measure.gc.collect", lambda: 0)  # most of a run of made-up latencies
    monkeypatch.setattr("runs.Recorder", lambda store, interval_s: Recorder(store, interval_s=1e9))  # one commit

    def run(latencies: dict[str, float] | None = None, **given: Any) -> Path:
        """The run that these arguments make, measured once; nothing may change it (`edit` copies)."""
        folder, known = made
        key = repr((latencies, given))
        if key not in known:
            known[key] = measured(folder / str(len(known)), latencies, **given)
        return known[key]

    def measured(
        results: Path,
        latencies: dict[str, float] | None,
        *,
        noise: float = 0.0,
        seed: int = 0,
        per_token: float = 0.0,
        devices: int = 1,
        costs: dict[str, Any] | None = None,
        **overrides: Any,
    ) -> Path:
        rng = np.random.default_rng(seed)

        def cost(ms: float) -> Callable[[int, int], tuple[int, int, None]]:
            def of(tokens: int, calls: int) -> tuple[int, int, None]:
                spread = math.exp(noise * rng.standard_normal()) if noise else 1.0
                return (MS, round(ms * (1 + per_token * tokens) * spread * MS), None)

            return of

        known_latencies({name: cost(ms) for name, ms in (USUAL | (latencies or {})).items()} | (costs or {}))
        return measure(load_plan(**{"rounds": 3, **overrides}), results, devices=devices)

    return run


@pytest.fixture
def edit(tmp_path: Path) -> Edit:
    """A copy of a run with another description for the same samples."""
    count = itertools.count()

    def edited(root: Path, change: Callable[[dict[str, Any]], object]) -> Path:
        copy = Path(shutil.copytree(root, tmp_path / f"copy{next(count)}"))
        description = json.loads((copy / "run.json").read_text())
        change(description)
        (copy / "run.json").chmod(0o644)
        (copy / "run.json").write_text(json.dumps(description))
        return copy

    return edited


opened = functools.cache(Tables)
compared = functools.cache(compare)


@pytest.fixture(autouse=True, scope="module")
def _open_and_compare_once() -> Iterator[None]:
    """`run` opens a run once, and compares two once: neither changes a run, which a test below holds it to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Tables", opened)
        patch.setattr(module, "compare", compared)
        yield
    opened.cache_clear()
    compared.cache_clear()


def of(a: Path, b: Path) -> RunComparison:
    return compared(opened(a), opened(b))


def text(found: RunComparison, by: Any = "relative") -> str:
    out = io.StringIO()
    show(found, Console(file=out, width=200), by)
    return out.getvalue()


def command(*argv: object) -> int:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return module.run(parser.parse_args([str(a) for a in argv]))


def verdicts(found: RunComparison) -> dict[str, tuple[str, str | None]]:
    return {r.configuration: (r.absolute.verdict, r.relative and r.relative.verdict) for r in found.rows}


def close(values: Iterable[float], expected: float | Iterable[float]) -> bool:
    return bool(np.allclose(list(values), expected, rtol=1e-9, atol=0))


def test_equal_runs_are_equivalent_both_ways(make: Make, edit: Edit) -> None:
    found = of(make(), edit(make(), lambda d: d.update(run_id="again")))
    assert [r.configuration for r in found.rows] == [
        "fullft_mrpc_seed42",
        "fullft_sst2_seed42",
        "lora_mrpc_seed42",
        "lora_sst2_seed42",
        "lora_merged_mrpc_seed42",
        "lora_merged_sst2_seed42",
        "multi_lora_2_adapters",
    ]
    assert set(verdicts(found).values()) == {("equivalent", "equivalent")}
    for row in found.rows:
        for change in (row.absolute, row.relative):
            assert change is not None
            assert (change.estimate.ratio, change.estimate.interval(), change.p_holm) == (1.0, (1.0, 1.0), 1.0)
        assert row.a_ms == row.b_ms == pytest.approx(USUAL[strategy_of(row.configuration)])
    assert (found.differences, found.notes, found.left_out) == ((), (), ())


def test_a_noisy_run_compared_with_itself_is_equivalent(make: Make) -> None:
    """Visits differ by a quarter, by noise and by the lengths of their requests; unpaired that would be uncertainty."""
    root = make(noise=0.3, per_token=0.05, rounds=4)
    found = of(root, root)
    assert set(verdicts(found).values()) == {("equivalent", "equivalent")}
    assert {r.absolute.estimate.ratio for r in found.rows} == {1.0}
    levels = [v.log for v in module._measured(opened(root), everything(root)).absolute["lora_mrpc_seed42"].values()]
    assert scipy.stats.sem(levels) > 0.05
    assert found.notes == ("A and B are the same run.",)


def everything(root: Path) -> Any:
    return opened(root).query("SELECT DISTINCT configuration, task, request FROM timed")


def test_all_slower_alike_shows_absolute_and_not_relative(make: Make) -> None:
    found = of(make(), make({name: 1.1 * ms for name, ms in USUAL.items()}))
    assert set(verdicts(found).values()) == {("slower", "equivalent")}
    for row in found.rows:
        assert row.relative is not None
        assert close([row.absolute.estimate.ratio, *row.absolute.estimate.interval()], 1.1)
        assert close([row.relative.estimate.ratio, *row.relative.estimate.interval()], 1.0)
        assert row.b_ms / row.a_ms == pytest.approx(1.1, rel=1e-9)
    shown = text(found)
    assert "Absolute slower, though not against the reference: fullft_mrpc_seed42, " in shown
    assert "Equivalent within ±2 %, relative: fullft_mrpc_seed42, " in shown


def test_one_strategy_slower_shows_relative_too(make: Make) -> None:
    found = of(make(), make({"lora_separate": 5.5}))
    by_name = verdicts(found)
    assert by_name["lora_mrpc_seed42"] == by_name["lora_sst2_seed42"] == ("slower", "slower")
    assert by_name["lora_merged_mrpc_seed42"] == ("equivalent", "equivalent")
    # Their reference is the separate adapter, which became slower.
    assert by_name["fullft_mrpc_seed42"] == by_name["multi_lora_2_adapters"] == ("equivalent", "faster")
    rows = {r.configuration: r for r in found.rows}
    slower = rows["lora_mrpc_seed42"]
    assert slower.reference == "full_ft"
    assert slower.relative is not None
    assert close([slower.relative.estimate.ratio, *slower.relative.estimate.interval()], 1.1)
    multi = rows["multi_lora_2_adapters"]
    assert multi.reference == "lora_separate"  # measured beside it; full fine-tuning was not
    assert multi.relative is not None
    assert close([multi.relative.estimate.ratio], 1 / 1.1)
    assert "lora_mrpc_seed42 is slower in B, relative to full_ft: +10.0 % [+10.0 %, +10.0 %], p after Holm" in text(
        found
    )


def test_noise_is_inconclusive_and_says_how_many_rounds_more(make: Make) -> None:
    found = of(make(noise=0.3, seed=1), make(noise=0.3, seed=2))
    for row in found.rows:
        assert row.relative is not None
        assert row.absolute.verdict == row.relative.verdict == "inconclusive"
        assert row.relative.more_rounds is not None
        assert row.relative.more_rounds > 0
    most = max(r.relative.more_rounds for r in found.rows if r.relative and r.relative.more_rounds)
    assert f"About {most} more rounds of each run" in text(found)


def raw_levels(root: Path, configuration: str, block: str, requests: Callable[[int], bool] = lambda r: True) -> Any:
    samples = pa.concat_tables(pq.read_table(path) for path in sorted((root / "samples").iterdir())).to_pylist()
    rounds: dict[int, list[int]] = {}
    for s in samples:
        mine = (s["configuration"], s["block"], s["phase"]) == (configuration, block, "timed")
        if mine and requests(s["request"]):
            rounds.setdefault(s["round"], []).append(s["wall_ns"])
    return np.log([np.mean(rounds[r]) for r in sorted(rounds)])


@pytest.fixture
def noisy_pair(make: Make) -> tuple[Path, Path]:
    common = {"noise": 0.05, "per_token": 0.02, "rounds": 5}
    return make(**common, seed=3), make({"lora_separate": 5.6}, **common, seed=4)


def test_absolute_changes_agree_with_scipy_and_statsmodels(noisy_pair: tuple[Path, Path]) -> None:
    a, b = noisy_pair
    found = of(a, b)
    absolute = {}
    for row in found.rows:
        name = row.configuration
        block = name if name.startswith("multi") else "_".join(name.split("_")[-2:])
        x, y = (raw_levels(root, name, block) for root in (a, b))
        expected = scipy.stats.ttest_rel(y, x)
        interval = expected.confidence_interval(0.95)
        estimate = row.absolute.estimate
        assert close([estimate.ratio, *estimate.interval()], np.exp([np.mean(y - x), *interval]))
        assert close([estimate.p_value()], expected.pvalue)
        low, high = -math.log1p(0.02), math.log1p(0.02)
        tost = statsmodels.stats.weightstats.ttost_paired(y, x, low, high)[0]
        assert close([row.absolute.p_equivalence], tost)
        assert row.absolute.method == "paired"
        absolute[name] = expected.pvalue
    holm = statsmodels.stats.multitest.multipletests(list(absolute.values()), method="holm")[1]
    assert close([r.absolute.p_holm for r in found.rows], holm)
    assert len({row.absolute.p_holm for row in found.rows}) > 2


def test_relative_changes_agree_too_and_a_pair_and_its_mirror_are_one_claim(noisy_pair: tuple[Path, Path]) -> None:
    a, b = noisy_pair
    rows = {r.configuration: r.relative for r in of(a, b).rows}
    expected: dict[str, Any] = {}
    for block in ("mrpc_seed42", "sst2_seed42"):
        for name in ("lora", "lora_merged"):
            d = [
                raw_levels(root, f"{name}_{block}", block) - raw_levels(root, f"fullft_{block}", block)
                for root in (a, b)
            ]
            change = rows[f"{name}_{block}"]
            assert change is not None
            test = expected[f"{name}_{block}"] = scipy.stats.ttest_rel(d[1], d[0])
            assert close([change.estimate.ratio], math.exp(np.mean(d[1] - d[0])))
            assert close(change.estimate.interval(), np.exp(test.confidence_interval(0.95)))
            assert close([change.estimate.p_value()], test.pvalue)
    multi = "multi_lora_2_adapters"
    d = []
    for root in (a, b):
        # A round serves each adapter half of its requests; the mean over the guests is over their samples together.
        guests = [np.exp(raw_levels(root, f"lora_{task}_seed42", multi)) for task in ("mrpc", "sst2")]
        d.append(raw_levels(root, multi, multi) - np.log(np.mean(guests, axis=0)))
    expected[multi] = scipy.stats.ttest_rel(d[1], d[0])
    # Seven rows, five claims: full against separate is separate against full.
    holm = statsmodels.stats.multitest.multipletests([t.pvalue for t in expected.values()], method="holm")[1]
    for name, p in zip(expected, holm, strict=True):
        change = rows[name]
        assert change is not None
        assert close([change.p_holm], p)
    for block in ("mrpc_seed42", "sst2_seed42"):
        full, separate = rows[f"fullft_{block}"], rows[f"lora_{block}"]
        assert full is not None
        assert separate is not None
        assert full.p_holm == pytest.approx(separate.p_holm, rel=1e-9)
        assert full.estimate.ratio == pytest.approx(1 / separate.estimate.ratio, rel=1e-9)


def test_other_workloads_are_compared_unpaired_by_welch(noisy_pair: tuple[Path, Path], edit: Edit) -> None:
    a, b = noisy_pair
    b = edit(b, lambda d: d["workload"].update(seed=7))
    found = of(a, b)
    assert found.differences == ("workload.seed: 0 in A, 7 in B",)
    assert found.notes == (
        "The workloads differ, so no request is the same in both: all requests of each run are compared.",
    )
    row = next(r for r in found.rows if r.configuration == "lora_sst2_seed42")
    x, y = (raw_levels(root, "lora_sst2_seed42", "sst2_seed42") for root in (a, b))
    expected = scipy.stats.ttest_ind(y, x, equal_var=False)
    assert (row.absolute.method, row.absolute.estimate.n) == ("welch", 10)
    assert close([row.absolute.estimate.p_value()], expected.pvalue)
    assert close(row.absolute.estimate.interval(), np.exp(expected.confidence_interval(0.95)))
    full = [raw_levels(root, "fullft_sst2_seed42", "sst2_seed42") for root in (a, b)]
    expected = scipy.stats.ttest_ind(y - full[1], x - full[0], equal_var=False)
    assert row.relative is not None
    assert close([row.relative.estimate.p_value()], expected.pvalue)
    low, high = -math.log1p(0.02), math.log1p(0.02)
    tost = statsmodels.stats.weightstats.ttost_ind(y - full[1], x - full[0], low, high, usevar="unequal")[0]
    assert close([row.relative.p_equivalence], tost)


def test_only_requests_that_both_served_are_compared(make: Make) -> None:
    a, b = make(noise=0.3, seed=1), make(noise=0.05, seed=6, rounds=4, requests=4)
    found = of(a, b)
    row = next(r for r in found.rows if r.configuration == "lora_mrpc_seed42")
    x = raw_levels(a, "lora_mrpc_seed42", "mrpc_seed42")
    y = raw_levels(b, "lora_mrpc_seed42", "mrpc_seed42", lambda request: request < 12)
    assert len(y) == 3
    assert close([row.absolute.estimate.ratio], math.exp(np.mean(y - x)))
    assert (row.absolute.method, row.absolute.estimate.n) == ("paired", 3)
    assert "plan.rounds: 3 in A, 4 in B" in found.differences
    assert found.notes[0].startswith("Compared on the requests that both runs served, not on all: fullft_mrpc_seed42, ")


def test_the_same_requests_in_other_rounds_are_compared_unpaired(make: Make) -> None:
    a, b = make(noise=0.3, seed=1), make(noise=0.05, seed=6, requests=6)
    found = of(a, b)
    row = next(r for r in found.rows if r.configuration == "lora_mrpc_seed42")
    x = raw_levels(a, "lora_mrpc_seed42", "mrpc_seed42")
    y = raw_levels(b, "lora_mrpc_seed42", "mrpc_seed42", lambda request: request < 12)
    assert (len(x), len(y)) == (3, 2)
    assert row.absolute.method == "welch"
    assert close([row.absolute.estimate.p_value()], scipy.stats.ttest_ind(y, x, equal_var=False).pvalue)
    means = [np.exp(levels).mean() / MS for levels in (x, y)]
    assert close([row.a_ms, row.b_ms], means)


def test_several_gpus_the_same_in_both_are_one_difference_each(make: Make) -> None:
    """Rounds lie on three GPUs in turn, in B on another in each round: their own speeds cancel."""
    a, b = make(noise=0.05, seed=7, rounds=6, devices=3), make(noise=0.05, seed=8, rounds=6, devices=3)
    x, y = (raw_levels(root, "lora_mrpc_seed42", "mrpc_seed42") for root in (a, b))
    paired = next(r for r in of(a, b).rows if r.configuration == "lora_mrpc_seed42").absolute
    assert paired.method == "paired"
    each = [np.mean((y - x)[[g, g + 3]]) for g in range(3)]
    assert close(paired.estimate.interval(), np.exp(scipy.stats.ttest_1samp(each, 0).confidence_interval(0.95)))

    levels = [
        {r: module._Visit(f"gpu{(r + shift) % 3}", r, float(v)) for r, v in enumerate(run)}
        for shift, run in ((0, x), (1, y))
    ]
    estimate, method = module._change(*levels, matched=True)
    each = [np.mean(y[[(g - 1) % 3, (g - 1) % 3 + 3]]) - np.mean(x[[g, g + 3]]) for g in range(3)]
    expected = scipy.stats.ttest_1samp(each, 0)
    assert method == "devices"
    assert close(estimate.interval(), np.exp(expected.confidence_interval(0.95)))
    assert close([estimate.p_value()], expected.pvalue)
    assert (estimate.n, estimate.devices) == (12, 3)
    assert 0 <= estimate.floor < estimate.standard_error


def test_gpus_of_one_run_only_are_compared_by_welch_over_gpus() -> None:
    rng = np.random.default_rng(9)
    x, y = rng.normal(15, 0.1, (2, 4))
    runs = [
        {r: module._Visit(f"{label}{r}", r, float(v)) for r, v in enumerate(run)}
        for label, run in (("old", x), ("new", y))
    ]
    estimate, method = module._change(*runs, matched=True)
    expected = scipy.stats.ttest_ind(y, x, equal_var=False)
    assert method == "welch"
    assert close([estimate.p_value()], expected.pvalue)
    assert close(estimate.interval(), np.exp(expected.confidence_interval(0.95)))


def test_what_differs_is_printed_before_the_table(make: Make, edit: Edit) -> None:
    a = make()

    def other(d: dict[str, Any]) -> None:
        d["plan"]["margin"] = 0.05
        d["model"]["name"] = "macro"
        d["configurations"][2]["dtype"] = "float16"
        d["environment"]["driver"]["versions"]["torch"] = "1.0"
        d["environment"]["driver"]["machine"]["host"] = "elsewhere"

    torch, host = (opened(a).description["environment"]["driver"][k] for k in ("versions", "machine"))
    found = of(a, edit(a, other))
    assert found.differences == (
        "plan.margin: 0.02 in A, 0.05 in B",
        "model.name: 'micro' in A, 'macro' in B",
        "configurations.lora_mrpc_seed42.dtype: 'auto' in A, 'float16' in B",
        f"machine.host: {host['host']} in A, elsewhere in B",
        f"versions.torch: {torch['torch']} in A, 1.0 in B",
    )
    assert found.margin == 0.02
    shown = text(found)
    places = [shown.index(line) for line in found.differences]
    assert places == sorted(places)
    assert places[-1] < shown.index("B against A")


def test_devices_and_workers_that_differ_are_named(make: Make, edit: Edit) -> None:
    a, b = make(), make(devices=2)
    worker = {"device": "cpu", "gpu": {"uuid": "GPU-1", "cuda": "12.8"}, "versions": {"torch": "2.13"}}
    newer = {"device": "cpu", "gpu": {"uuid": "GPU-2", "cuda": "13.0"}, "versions": {"torch": "2.13"}}
    a = edit(a, lambda d: d["environment"].update(workers=[worker, worker]))
    b = edit(b, lambda d: d["environment"].update(workers=[worker, newer]))
    assert differences(opened(a), opened(b)) == [
        "gpu.cuda: 12.8 in A, 12.8, 13.0 in B",
        "devices: 1 x fake device in A, 2 x fake device in B",
    ]
    tables = Tables(a)
    tables.connection.execute("CREATE OR REPLACE VIEW visits AS SELECT 'fake device' AS device_name, 'x' AS device")
    assert differences(opened(a), tables) == ["devices: 1 x fake device in both, but not the same ones"]


def test_texts_that_changed_behind_one_description_are_not_matched(make: Make) -> None:
    a, b = make(noise=0.3, seed=1), make(noise=0.3, seed=2)
    tables = Tables(b)
    tables.connection.execute("CREATE OR REPLACE TABLE longer AS SELECT * REPLACE (tokens + 1 AS tokens) FROM timed")
    tables.connection.execute("CREATE OR REPLACE VIEW timed AS FROM longer")
    _, matched, notes = module._requests(opened(a), tables, ["lora_mrpc_seed42"])
    assert not matched
    assert notes == ["Requests of one number differ in length: all requests of each run are compared."]


def test_incomplete_configurations_are_left_out_and_named(make: Make, edit: Edit) -> None:
    def fails(tokens: int, calls: int) -> tuple[int, int, None]:
        if calls > 5:
            raise RuntimeError("device on fire")
        return (MS, 5 * MS, None)

    a, b = edit(make(), lambda d: d.update(run_id="renamed")), make(costs={"lora_separate": fails})
    (a / "run.json").write_text((a / "run.json").read_text().replace("fullft_mrpc_seed42", "fullft_old"))
    found = of(a, b)
    assert [(name, reason.split(";")[0]) for name, reason in found.left_out] == [
        ("fullft_old", "incomplete in A: 0 of 3 rounds"),
        ("lora_mrpc_seed42", "incomplete in B: 0 of 3 rounds"),
        ("lora_sst2_seed42", "incomplete in B: 0 of 3 rounds"),
        ("fullft_mrpc_seed42", "not in A"),
    ]
    assert "device on fire" in found.left_out[1].reason
    assert found.differences[:2] == (
        "configurations only in A: fullft_old",
        "configurations only in B: fullft_mrpc_seed42",
    )
    assert {r.configuration: r.reference for r in found.rows} == {
        "fullft_sst2_seed42": None,
        "lora_merged_mrpc_seed42": None,
        "lora_merged_sst2_seed42": "full_ft",
        "multi_lora_2_adapters": None,
    }
    shown = text(found)
    assert "Left out: lora_sst2_seed42: incomplete in B: 0 of 3 rounds; error: RuntimeError: device on fire" in shown
    assert (
        "Only the absolute change exists, no reference being complete in both runs: "
        "fullft_sst2_seed42, lora_merged_mrpc_seed42, multi_lora_2_adapters." in shown
    )
    assert "--resume" in shown


def test_one_launch_each_is_inconclusive(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = make(design="independent", rounds=1), make({"lora_separate": 50.0}, design="independent", rounds=1)
    found = of(a, b)
    assert set(verdicts(found).values()) == {("inconclusive", "inconclusive")}
    assert found.notes[0].startswith("A configuration and its reference were measured in different visits")
    assert "+900.0 % [unknown]" in text(found)
    assert command(a, b, "--json") == 0
    row = next(r for r in json.loads(capsys.readouterr().out)["rows"] if r["configuration"] == "lora_mrpc_seed42")
    assert row["relative"] == {
        "ratio": pytest.approx(10),
        "low": None,
        "high": None,
        "visits": 1,
        "method": "paired",
        "p": None,
        "p_holm": None,
        "p_equivalence": None,
        "verdict": "inconclusive",
        "more_rounds": None,
    }


def test_fail_on_is_the_exit_code(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    base = make()
    slow_machine = make({name: 1.1 * ms for name, ms in USUAL.items()})
    slow_strategy = make({"lora_merged": 4.5})
    assert command(base, slow_machine) == 0
    assert command(base, slow_machine, "--fail-on", "slower,faster,inconclusive") == 0
    assert command(base, slow_machine, "--fail-on", "slower", "--by", "absolute") == 1
    assert command(slow_machine, base, "--fail-on", "slower", "--by", "absolute") == 0
    assert command(slow_machine, base, "--fail-on", "slower", "--fail-on", "faster", "--by", "absolute") == 1
    assert command(base, slow_strategy) == 0
    capsys.readouterr()
    assert command(base, slow_strategy, "--fail-on", "slower") == 1
    printed = capsys.readouterr().out
    assert printed.endswith("Failed on slower: lora_merged_mrpc_seed42, lora_merged_sst2_seed42\n")
    assert "lora_merged_mrpc_seed42 is slower in B, relative to full_ft: +11.9 %" in printed
    assert command(base, slow_strategy, "--fail-on", "faster,inconclusive") == 0
    assert command(slow_strategy, base, "--fail-on", "faster") == 1
    capsys.readouterr()
    assert command(base, slow_strategy, "--fail-on", "slower", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] == ["lora_merged_mrpc_seed42", "lora_merged_sst2_seed42"]
    row = next(r for r in found["rows"] if r["configuration"] == "lora_merged_mrpc_seed42")
    assert (row["a_ms"], row["b_ms"], row["reference"]) == (4.02, 4.5, "full_ft")
    assert row["relative"]["ratio"] == pytest.approx(4.5 / 4.02, rel=1e-9)


def test_without_a_reference_the_absolute_change_counts(
    make: Make, edit: Edit, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = make(), make({name: 1.1 * ms for name, ms in USUAL.items()})
    a, b = (edit(root, lambda d: d.update(comparisons=[])) for root in (a, b))
    assert command(a, b, "--fail-on", "slower") == 1
    assert "Only the absolute change exists" in capsys.readouterr().out


def test_noise_fails_on_inconclusive_only(make: Make) -> None:
    a, b = make(noise=0.3, seed=1), make(noise=0.3, seed=2)
    assert command(a, b, "--fail-on", "slower,faster") == 0
    assert command(a, b, "--fail-on", "inconclusive") == 1


def test_bad_input_is_refused(make: Make, edit: Edit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make()
    with pytest.raises(InputError, match="no run here"):
        command(root, tmp_path)
    with pytest.raises(SystemExit) as refused:
        command(root, root, "--fail-on", "slower,equivalent")
    assert refused.value.code == 2
    assert "'equivalent' is none of slower, faster, inconclusive" in capsys.readouterr().err
    other = edit(root, lambda d: d["plan"].update(requests=99))
    with pytest.raises(InputError, match="no configuration is complete both there and in") as none_complete:
        command(root, other)
    renamed = [{**c, "name": f"other_{c['name']}"} for c in opened(root).description["configurations"]]
    other = edit(root, lambda d: d.update(comparisons=[], configurations=renamed))
    with pytest.raises(InputError, match="no configuration in common with") as none_common:
        command(root, other)
    for raised in (none_complete, none_common):
        assert raised.value.exit_code == 2
        assert "\n" not in str(raised.value)


def test_the_runs_are_left_as_they_were(make: Make) -> None:
    a, b = opened(make()), opened(make(noise=0.05, seed=6, rounds=4, requests=4))
    before = [run.rows("SELECT configuration, n, mean_ms FROM by_configuration") for run in (a, b)]
    assert compare(a, b).rows
    assert [run.rows("SELECT configuration, n, mean_ms FROM by_configuration") for run in (a, b)] == before


def test_a_reference_must_be_whole_and_the_same_in_both(make: Make, edit: Edit) -> None:
    a = opened(make())
    names = [c["name"] for c in a.description["configurations"]]
    assert module._references(a, a, names)["multi_lora_2_adapters"] == (
        "lora_separate",
        ("lora_mrpc_seed42", "lora_sst2_seed42"),
    )
    without = module._references(a, a, [name for name in names if name != "lora_sst2_seed42"])
    assert "multi_lora_2_adapters" not in without  # half of its counterparts are no reference
    assert without["lora_merged_sst2_seed42"] == ("full_ft", ("fullft_sst2_seed42",))

    def to_another(d: dict[str, Any]) -> None:
        for c in d["comparisons"]:
            if (c["configuration"], c["reference_strategy"]) == ("lora_merged_mrpc_seed42", "full_ft"):
                c["references"][0]["configuration"] = "fullft_sst2_seed42"

    changed = module._references(a, opened(edit(make(), to_another)), names)
    assert changed["lora_merged_mrpc_seed42"] == ("lora_separate", ("lora_mrpc_seed42",))
    assert changed["lora_merged_sst2_seed42"][0] == "full_ft"


def test_rounding_is_no_difference() -> None:
    runs = [{r: module._Visit("gpu", r, level) for r in range(3)} for level in (15.1, math.nextafter(15.1, 16))]
    estimate, method = module._change(*runs, matched=False)
    assert (method, estimate.ratio, estimate.p_value()) == ("welch", 1.0, 1.0)
