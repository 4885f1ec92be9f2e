"""Advice on runs of servers: what a GPU carries is the goodput measured at the loads that are carried."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from command_lines import told
from loaded_runs import ADAPTERS, FULL, GOODPUT, HEAD, at, beside, load_loaded, loaded, moments_ns
from raybench.analysis.tables import Tables
from raybench.decide import command
from raybench.decide.carried import ServedNeeds, ServedWay
from raybench.decide.served import ServedAdvice, decide_served
from raybench.plan.plan import Configuration
from raybench.records import InputError

MB = 1_000_000
MEMORY: dict[str, dict[str, int]] = {
    "full_ft": {"weight_bytes": 1000 * MB, "adapter_bytes": 0},
    "lora_separate": {"weight_bytes": 1000 * MB, "adapter_bytes": 10 * MB},
    "multi_lora": {"weight_bytes": 1000 * MB, "adapter_bytes": 20 * MB},
    "base_beside_lora": {"weight_bytes": 1000 * MB, "adapter_bytes": 20 * MB},
}
PLAN = (
    HEAD
    + ADAPTERS
    + at(FULL, 1, 2, 4)
    + at(beside("several", "multi_lora", "a{number}"), 2, 4)
    + at(beside("base_beside", "base_beside_lora", "a{number}"), 2)
)
NEEDS = ServedNeeds(tasks=3, gpu_memory_bytes=2200 * MB, requests_per_second=300.0, ttft_s=0.005, tpot_s=0.0031)


def cost(configuration: Configuration, round_index: int, place: int) -> tuple[float, float]:
    """Tokens of a full fine-tune come 3 ms apart, of adapters 0.1 % later, of the base beside them a tenth.

    With four at once the first takes twice as long. Round 1 is 1 % longer.
    """
    at_once = 1 if configuration.load is None else configuration.load.concurrency or 1
    longer = {"full_ft": 1.0, "multi_lora": 1.001, "base_beside_lora": 1.1}[configuration.strategy]
    longer *= 1 + 0.01 * round_index + 1e-6 * len(configuration.name) * round_index
    half = 0.5 if place == 1 else 1.0
    return 4.0 * longer * half * (2 if at_once == 4 else 1), 3.0 * longer * half


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("served")
    return Tables(loaded(load_loaded(folder, PLAN), folder, cost, loads=MEMORY))


def ways_of(advice: ServedAdvice) -> dict[str, ServedWay]:
    return {way.way: way for way in advice.ways}


def changed(**values: Any) -> ServedNeeds:
    return ServedNeeds(**{name: getattr(NEEDS, name) for name in ServedNeeds.__dataclass_fields__} | values)


def test_what_a_gpu_carries_is_the_highest_goodput_of_loads_that_are_carried(tables: Tables) -> None:
    # Two at once take 10 ms: 5 in 25 ms, and 1 % fewer in round 1. Four at once are faster and late.
    advice = decide_served(tables, NEEDS)
    full = ways_of(advice)["full_ft"]
    assert (full.deployment, full.load, full.good_share) == ("Full FT (2 at once)", "2 at once", 1.0)
    row = tables.rows("FROM goodput WHERE deployment = 'Full FT (2 at once)'")[0]
    assert full.goodput_per_s == row["requests_per_s"]
    rates = [200.0, tables.rows("FROM load_turns WHERE configuration = 'full_c2' AND round = 1")[0]["requests_per_s"]]
    seconds = [1 / rate for rate in rates]
    assert full.goodput_per_s == pytest.approx(2 / sum(seconds))
    low, high = stats.t.interval(0.95, 1, loc=sum(seconds) / 2, scale=stats.sem(seconds))
    assert (full.goodput_per_s_low, full.goodput_per_s_high) == pytest.approx((1 / high, 1 / low))
    faster = tables.rows("FROM goodput WHERE deployment = 'Full FT (4 at once)'")[0]
    assert faster["requests_per_s"] > full.goodput_per_s


def test_gpus_follow_from_goodput_and_memory(tables: Tables) -> None:
    # 300 a second at 199 are two GPUs, by the lower end (186.4) as well. Two models of 1000 MB fit, hence
    # max(2, ceil((3 + 2 - 1) / 2)) = 2; of adapters, 10 MB each beside 1000, as many as fill 1200 MB.
    ways = ways_of(decide_served(tables, NEEDS))
    full, several = ways["full_ft"], ways["multi_adapter"]
    assert (full.tasks_per_gpu, full.bytes_each, full.bytes_beside) == (2, 1000 * MB, 0)
    assert (full.gpus, full.gpus_least, full.gpus_most) == (2, 2, 2)
    assert (several.tasks_per_gpu, several.bytes_each, several.bytes_beside) == (120, 10 * MB, 1000 * MB)
    assert (several.gpus, several.adapters) == (2, 2)
    more = ways_of(decide_served(tables, changed(requests_per_second=380.0)))["full_ft"]
    assert (more.gpus, more.gpus_most) == (2, 3)
    assert ways_of(decide_served(tables, changed(tasks=5)))["full_ft"].gpus == 3


def test_the_fewest_are_advised_and_ties_go_by_the_order_of_ways(tables: Tables) -> None:
    advice = decide_served(tables, NEEDS)
    assert [way.way for way in advice.ways] == ["multi_adapter", "full_ft"]
    assert (advice.way, advice.gpus, advice.gpus_most) == ("multi_adapter", 2, 2)
    assert advice.sentence == (
        "Several adapters on one base: 2 GPUs for 3 tasks at 300 requests/s, 95 % within TTFT 5 ms and TPOT 3.1 ms; "
        "load decides how many."
    )
    advice = decide_served(tables, changed(requests_per_second=380.0, gpu_price=0.9))
    assert advice.sentence.startswith("Several adapters on one base: 2 to 3 GPUs for 3 tasks at 380 requests/s")
    assert advice.sentence.endswith("; load decides how many: 2 GPUs as measured.")
    assert ways_of(advice)["full_ft"].cost_per_million_requests == pytest.approx(2 * 0.9 / 3600 / 380 * 1e6)


def test_a_load_with_too_few_good_requests_is_not_carried(tables: Tables) -> None:
    advice = decide_served(tables, changed(tpot_s=0.00301))  # of round 1 no request keeps it
    assert (advice.way, advice.gpus) == (None, None)
    assert advice.sentence == (
        "No way serves 3 tasks at 300 requests/s, 95 % within TTFT 5 ms and TPOT 3.01 ms: see each way."
    )
    assert ways_of(advice)["full_ft"].why_not == (
        "limits: at no load 95 % of requests are within TTFT 5 ms and TPOT 3.01 ms, 50.0 % at most"
    )
    ttft_only = decide_served(tables, changed(tpot_s=None, ttft_s=0.1))  # four at once are in time then
    assert ways_of(ttft_only)["full_ft"].load == "4 at once"


def test_at_a_rate_a_gpu_carries_what_was_sent_and_a_single_request_tells_nothing(tmp_path: Path) -> None:
    at_a_rate = FULL + "rate_per_s = 20.0\n"
    text = HEAD.replace("requests = 4", "requests = 8").replace("rounds = 2", "rounds = 4") + at_a_rate
    tables = Tables(loaded(load_loaded(tmp_path, text), tmp_path, lambda c, r, place: (4.0, 3.0), loads=MEMORY))
    full = ways_of(decide_served(tables, NEEDS))["full_ft"]
    took = [(max(of) - min(of)) / 1e9 for of in (moments_ns(20.0, 8, r, (0, 0)) for r in range(4))]
    assert (full.load, full.good_share) == ("20 a second", 1.0)
    assert full.goodput_per_s == pytest.approx(7 / (sum(took) / 4))
    assert full.gpus == math.ceil(300 / full.goodput_per_s)
    one = loaded(
        load_loaded(tmp_path, HEAD.replace("requests = 4", "requests = 1") + at_a_rate), tmp_path, run_id="one"
    )
    assert decide_served(Tables(one), NEEDS).ways == ()


def test_a_task_that_does_not_fit_is_told(tables: Tables) -> None:
    ways = ways_of(decide_served(tables, changed(gpu_memory_bytes=1005 * MB)))
    assert (ways["full_ft"].gpus, ways["multi_adapter"].gpus) == (4, None)  # three of them, and a second of one
    assert ways["multi_adapter"].why_not == "memory: one task needs 1.01 GB"


def test_the_base_beside_adapters_is_told_and_never_advised(tables: Tables) -> None:
    advice = decide_served(tables, NEEDS)
    assert "base_beside_lora" not in {way.strategy for way in advice.ways}
    assert advice.beside is not None
    assert advice.beside.startswith("A request for the base on the server that has adapters costs 1.1 [1.1, 1.1] times")
    assert advice.beside.endswith("times a request to Full FT (2 at once).")


def test_what_was_not_measured_under_a_load_is_named(tables: Tables) -> None:
    cautions = decide_served(tables, NEEDS).cautions
    assert "Not measured under a load, so not among the ways: lora_merged, lora_separate." in cautions
    assert "At most 2 adapters shared a server in this run; more are taken to be as fast as those." in cautions


def test_limits_of_the_plan_are_taken_where_none_are_given(tables: Tables, tmp_path: Path) -> None:
    root = loaded(load_loaded(tmp_path, HEAD + GOODPUT + at(FULL, 2)), tmp_path, cost, loads=MEMORY)
    advice = decide_served(Tables(root), changed(ttft_s=None, tpot_s=None))
    assert (advice.needs["ttft_s"], advice.needs["tpot_s"]) == (0.005, 0.002)
    assert advice.way is None
    with pytest.raises(InputError, match="neither --ttft nor --tpot is given, and its plan has no goodput; say what a"):
        decide_served(tables, changed(ttft_s=None, tpot_s=None))


def test_without_loads_one_line_says_what_to_measure(tmp_path: Path) -> None:
    root = loaded(load_loaded(tmp_path, HEAD + at(FULL, 1)), tmp_path, cost)
    with pytest.raises(InputError, match=r"/run: no way to deploy was asked under a load, .*concurrency or rate_per_s"):
        decide_served(Tables(root), NEEDS)
    plan = load_loaded(tmp_path, HEAD + at(FULL, 2))
    half = loaded(plan, tmp_path, cost, "half", rounds=1)
    with pytest.raises(
        InputError, match="/half: no configuration under a load is complete; finish the run by --resume"
    ):
        decide_served(Tables(half), NEEDS)


# ---- the command line


def run_decide(run: Path, *more: str) -> int:
    needs = ["--tasks", "3", "--gpu-memory", "2.2GB", "--requests-per-second", "300"]
    return command.run(run, told(["decide", "RUN", *needs, *more]))


def test_the_command_tells_the_advice(tables: Tables, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(str(tables.root))
    assert run_decide(run, "--ttft", "5ms", "--tpot", "3.1ms", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["way"], told["gpus"], told["needs"]["ttft_s"]) == ("multi_adapter", 2, 0.005)
    assert run_decide(run, "--ttft", "5ms", "--tpot", "3.1ms", "--gpu-price", "1") == 0
    out = capsys.readouterr().out
    order = [
        "Several adapters on one base: 2 GPUs",
        "goodput/s/GPU",
        "A request for the base",
        "Note: ",
        "Next: raybench",
    ]
    assert [out.index(text) for text in order] == sorted(out.index(text) for text in order)


def test_each_kind_of_run_is_asked_for_its_own_limits(tables: Tables, known_tables: Tables) -> None:
    served, other = (Path(str(one.root)) for one in (tables, known_tables))
    for more in (("--slo-p95", "40ms"), ("--ttft", "5ms", "--switches", "1")):
        with pytest.raises(InputError, match=r"(--slo-p95|--switches): .* is a run of servers, .* give --ttft, --tpot"):
            run_decide(served, *more)
    with pytest.raises(InputError, match=r"--ttft: .* is no run of servers; give --slo-p95 in its place"):
        run_decide(other, "--ttft", "5ms")
    with pytest.raises(InputError, match="--slo-p95: missing; say within which time 95 % of requests"):
        run_decide(other)
