"""The arithmetic of an estimate, on a machine and a model of round numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from plan.plan_texts import HEAD
from raybench.deploy.strategies import all_traits
from raybench.machine.core_speed import CoreSpeed, measure_core
from raybench.model.lengths import Lengths
from raybench.model.shape import ModelShape
from raybench.model.sizes import AdapterSize
from raybench.model.weights import resolve_model
from raybench.plan.file import PlanSource, parse_plan
from raybench.plan.plan import Plan
from raybench.sweep import estimate_lines
from raybench.sweep.checked_plan import CheckedPlan
from raybench.sweep.estimate import (
    BESIDE_S,
    CALIBRATION_S,
    COUNTED,
    COUNTED_S,
    EACH_BESIDE_S,
    GPUS,
    SLOT_S,
    START_S,
    SWITCH_S,
    VISIT_S,
    Estimate,
    Machine,
    estimate,
    forward_s,
    this_core,
)
from raybench.sweep.estimate_lines import _alike, _bytes

SHAPE = ModelShape(
    layers=10,
    hidden=8,
    parameters=2_000_000,
    active=1_000_000,
    kv_values=1000,
    matrix=100_000,
    linear=800_000,
    dtype=None,
    tied=None,
)
CORE = Machine("core", "cpu", 1e9, 1e8, None, 1e-3, 1e-4, apart=False)
GPU = dataclasses.replace(CORE, name="gpu", kind="cuda", memory_bytes=10**9, apart=True)


def test_a_forward_takes_the_longer_of_its_arithmetic_and_its_bytes_and_the_launches_besides() -> None:
    # 2 x 1e6 x 100 operations at 1e9 a second; 4 bytes x 1e6 weights at 1e8 a second; 10 layers of 1 ms.
    assert forward_s(SHAPE, CORE, tokens=100, kept=0, modules=0, value_bytes=4) == pytest.approx(0.2 + 0.01)
    assert forward_s(SHAPE, CORE, tokens=1, kept=0, modules=0, value_bytes=4) == pytest.approx(0.04 + 0.01)
    # 1,000 values of each of 50 tokens are read as well; 20 modules with an adapter of 0.1 ms each.
    assert forward_s(SHAPE, CORE, tokens=1, kept=50, modules=20, value_bytes=4) == pytest.approx(0.042 + 0.012)


def test_on_a_gpu_launching_goes_on_beside_so_that_the_slower_counts() -> None:
    assert forward_s(SHAPE, GPU, tokens=1, kept=0, modules=0, value_bytes=2) == pytest.approx(0.02)
    assert forward_s(SHAPE, GPU, tokens=1, kept=0, modules=400, value_bytes=2) == pytest.approx(0.05)


TEXT = (
    HEAD
    + """
task_type = "CAUSAL_LM"
rounds = 3
requests = 4
warmups = 2
turn_requests = 2
[workload]
prompt_tokens = 10
output_tokens = 5
[[adapters]]
name = "a"
tasks = ["a"]
seeds = [1]
alpha = 8
[[matrix]]
name = "separate"
strategy = "lora_separate"
tasks = ["a"]
seeds = [1]
adapters = ["a"]
batch = 2
[[matrix]]
name = "merged"
strategy = "lora_merged"
tasks = ["a"]
seeds = [1]
adapters = ["a"]
batch = 2
"""
)


def plan_of(text: str) -> Plan:
    return parse_plan(PlanSource("x", text), all_traits(), ())[0]


def estimated(text: str, machine: Machine, shape: ModelShape = SHAPE, **adapters: AdapterSize) -> Estimate | None:
    return estimate(plan_of(text), Lengths(10, 5, 0), shape, adapters, machine)


def test_a_run_is_all_forwards_of_all_visits_loading_and_starting() -> None:
    found = estimated(TEXT, CORE, a=AdapterSize(modules=20, parameters=50_000))
    # Each configuration in a visit: 4 checks, 2 warm-ups, 2 turns with an opener each, 4 timed. A request: one forward
    # of 2 x 10 tokens, and 4 of 2 x 1 that read keys and values of 2 x 12.5 tokens on average.
    prefill, decode = 0.04 + 0.01, (4 * (1_000_000 + 1000 * 25)) / 1e8 + 0.01
    merged = prefill + 4 * decode
    separate = merged + 5 * 20 * 1e-4
    load = (2 * 4 * 2_000_000 + 4 * 50_000) / 1e9
    assert found is not None
    # Each of the three rounds calibrates, the first counts besides what both do.
    visit, counted = VISIT_S + load + 12 * (merged + separate), 2 * COUNTED_S + COUNTED * (merged + separate)
    assert found.time_s == pytest.approx(START_S + 3 * (visit + CALIBRATION_S) + counted)
    assert found.visit_s == pytest.approx(visit + CALIBRATION_S + counted)
    assert found.longest == "a_seed1_batch2"


def test_an_opener_generates_no_more_than_it_does() -> None:
    long = plan_of(TEXT.replace("output_tokens = 5", "output_tokens = 20"))
    found = estimate(long, Lengths(10, 20, 0), SHAPE, {}, CORE)
    # Of each configuration 10 whole requests and 2 openers, which generate 8; of these 2 x 14, else 2 x 20 tokens kept;
    # and as much time as some more whole ones take is that of counting what it does.
    whole, opener = (0.05 + (n - 1) * (0.01 + 4 * (1_000_000 + 2000 * (10 + n / 2)) / 1e8) for n in (20, 8))
    assert found is not None
    once = CALIBRATION_S + 2 * COUNTED_S
    requests = 2 * ((10 + COUNTED) * whole + 2 * opener)
    assert found.visit_s == pytest.approx(VISIT_S + 2 * (4 * 2_000_000) / 1e9 + once + requests)


def test_memory_is_that_of_the_block_which_holds_most() -> None:
    found = estimated(TEXT, CORE, a=AdapterSize(modules=20, parameters=50_000))
    # Two models in float32, one adapter beside its base, keys and values of 2 x 15 tokens, a matrix being merged.
    expected = 2 * 4 * 2_000_000 + 4 * 50_000 + 4 * 1000 * 2 * 15 + 4 * 100_000
    assert found is not None
    assert (found.memory_bytes, found.block, found.models) == (expected, "a_seed1_batch2", 2)
    on_gpu = estimated(TEXT, GPU, a=AdapterSize(modules=20, parameters=50_000))
    assert on_gpu is not None  # in bfloat16, the adapter still in float32
    assert on_gpu.memory_bytes == 2 * 2 * 2_000_000 + 4 * 50_000 + 2 * 1000 * 2 * 15 + 4 * 100_000
    same = estimated(TEXT.replace("batch = 2", 'batch = 2\nadapter_dtype = "same"'), GPU, a=AdapterSize(20, 50_000))
    assert same is not None
    assert on_gpu.memory_bytes - same.memory_bytes == 2 * 50_000


def test_of_a_quantized_base_its_linear_layers_are_smaller_and_what_is_merged_is_not() -> None:
    adapters = {"a": AdapterSize(modules=20, parameters=50_000)}
    plain, nf4, int8 = (
        estimated(TEXT.replace("batch = 2", f"batch = 2\n{more}"), GPU, **adapters)
        for more in ("", 'quantization = "bnb-nf4"', 'quantization = "torchao-int8"')
    )
    assert plain is not None
    assert nf4 is not None
    assert int8 is not None
    assert plain.memory_bytes - int8.memory_bytes == 800_000 * (2 - 1)
    assert plain.memory_bytes - nf4.memory_bytes == round(800_000 * (2 - 0.516))


def test_mixed_batches_ask_each_adapter_and_others_one() -> None:
    two = TEXT.replace('tasks = ["a"]', 'tasks = ["a", "b"]').replace('name = "a"', 'name = "{task}"')
    two = two.replace('"separate"', '"separate_{task}"').replace('"merged"', '"merged_{task}"')
    two = two.replace('adapters = ["a"]', 'adapters = ["{task}"]')
    both = '[[configurations]]\nname = "both"\nstrategy = "multi_lora"\nseed = 1\nadapters = ["a", "b"]\nbatch = 2\n'
    sizes = {name: AdapterSize(modules=20, parameters=50_000) for name in "ab"}
    apart, mixed = (estimated(f"{two}{both}{more}", CORE, **sizes) for more in ("", 'routing = "mixed"\n'))
    assert apart is not None
    assert mixed is not None
    # 12 requests of 5 forwards in 3 visits, with 20 modules more; its guests now serve all 4 requests each, not 2.
    guests = 2 * 3 * (12 - 9) * (0.05 + 4 * 0.051 + 5 * 0.002)
    # It and its guests are counted as before, itself by longer requests.
    counted = COUNTED * 5 * 20 * 1e-4
    assert mixed.time_s - apart.time_s == pytest.approx(3 * 12 * 5 * 20 * 1e-4 + guests + counted)


LARGE = ModelShape(1, 8, 10**11, 10**11, 0, None, None, None, None)


def lines_of(shape: ModelShape, monkeypatch: pytest.MonkeyPatch, text: str = TEXT) -> list[str]:
    monkeypatch.setattr(estimate_lines, "model_shape", lambda spec, files: shape)
    monkeypatch.setattr(estimate_lines, "measure_core", lambda: CoreSpeed(1e12, 1e12))
    plan = plan_of(text)
    return estimate_lines.estimate_lines(
        CheckedPlan(plan, None, resolve_model("micro-lm", None), (), Lengths(10, 5, 0))
    )


def test_the_copy_of_tied_embeddings_that_a_merge_makes_is_told_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    untied = {"a": AdapterSize(modules=20, parameters=50_000, untied=3_000_000)}
    found, plain = estimated(TEXT, GPU, **untied), estimated(TEXT, GPU, a=AdapterSize(modules=20, parameters=50_000))
    assert found is not None
    assert plain is not None
    assert (found.untied_bytes, plain.untied_bytes) == (6_000_000, 0)
    assert found.memory_bytes - plain.memory_bytes == 6_000_000
    monkeypatch.setattr(estimate_lines, "adapter_size", lambda *_: untied["a"])
    assert lines_of(SHAPE, monkeypatch)[3:] == [
        "  in it 12 MB on a CPU, 6 MB on a GPU for a copy of the embeddings, which the base ties to its output and an "
        "adapter that is merged changes on one side"
    ]


def test_a_plan_that_no_gpu_has_room_for_and_visits_that_are_given_up_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert len(lines_of(SHAPE, monkeypatch)) == 3
    short = TEXT.replace("rounds = 3", "rounds = 3\nvisit_timeout_s = 500.0")
    found = lines_of(LARGE, monkeypatch, short)
    # 2 models of 1e11 weights: 4 bytes each on a CPU, 2 on a GPU.
    assert "memory 800.0 GB on a CPU, 400.0 GB on a GPU" in found[2]
    assert found[1].count(" GB it does not fit)") == 4
    # 1 s, 800 s or 400 s to load, 24 requests: on the core 4 s for the prompts and 4 x 0.4 s, on an L4 5 x 1.33 s. As
    # many to count, and 1.3 s besides.
    assert found[3:] == [
        "  more than any of these GPUs has: --design independent holds one model at a time",
        "  a visit of a_seed1_batch2 may take 17 min 51 s on a core of this machine, and is given up after "
        "visit_timeout_s = 500",
        "  a visit of a_seed1_batch2 may take 12 min 2 s on an L4, and is given up after visit_timeout_s = 500",
    ]
    alone = TEXT.partition('[[matrix]]\nname = "merged"')[0]
    assert len(lines_of(LARGE, monkeypatch, alone)) == 3


def test_a_model_whose_size_is_not_known_has_no_estimate() -> None:
    assert estimated(TEXT, CORE, dataclasses.replace(SHAPE, parameters=None)) is None


def test_a_core_is_tried_and_gpus_are_what_their_data_sheets_say() -> None:
    core = this_core(CoreSpeed(5e10, 2e10))
    assert (core.kind, core.flops_s, core.bytes_s, core.apart) == ("cpu", 5e10, 2e10, False)
    assert {gpu.name: (gpu.flops_s, gpu.bytes_s) for gpu in GPUS} == {
        "L4": (60.5e12, 150e9),
        "A10G": (35e12, 300e9),
        "A100": (156e12, 1019.5e9),
        "H100": (494.5e12, 1675e9),
    }
    speed = measure_core()
    assert speed.flops_s > 0
    assert speed.bytes_s > 0


def test_what_is_alike_is_told_once() -> None:
    assert _alike([("L4", "3 min"), ("A10G", "2 min"), ("A100", "2 min"), ("H100", "2 min")]) == (
        "3 min on an L4, 2 min on an A10G, A100 or H100"
    )
    assert [_bytes(n) for n in (1, 2_400_000, 999_000_000, 1_340_000_000)] == ["1 MB", "2 MB", "999 MB", "1.3 GB"]


MANY = (
    HEAD
    + """
rounds = 1
requests = 4
warmups = 2
[workload]
prompt_tokens = 10
[[adapters]]
name = "a{number}"
tasks = ["a"]
seeds = [1]
alpha = 8
count = 6
[[configurations]]
name = "many"
strategy = "multi_lora"
seed = 1
adapters = ["a{number}"]
batch = 3
"""
)


def classified(text: str, adapters: Mapping[str, AdapterSize]) -> Estimate | None:
    return estimate(plan_of(text), Lengths(10, None, 0), SHAPE, adapters, CORE)


def test_many_adapters_are_loaded_checked_and_switched_among() -> None:
    sizes = {f"a{number}": AdapterSize(modules=20, parameters=50_000) for number in range(1, 7)}
    peft, stacked = (classified(MANY + more, sizes) for more in ("", 'form = "stacked"\n'))
    assert peft is not None
    assert stacked is not None
    # 4 checks and 4 of each of 4 adapters, 2 warm-ups, 4 timed requests with an opener each.
    request, load = 0.06 + 0.01 + 20 * 1e-4, (4 * 2_000_000 + 4 * 6 * 50_000) / 1e9
    forwards = (4 + 16 + 2 + 4 + 4) * request
    once = CALIBRATION_S + COUNTED_S + COUNTED * request
    assert stacked.visit_s == pytest.approx(VISIT_S + load + forwards + SLOT_S * 6 * 20 + once)
    one_by_one = 20 * (6 * BESIDE_S + (1 + 2 + 3 + 4 + 5) * EACH_BESIDE_S)
    assert peft.visit_s == pytest.approx(VISIT_S + load + forwards + one_by_one + 10 * 6 * 20 * SWITCH_S + once)


def test_a_mixed_batch_asks_as_many_adapters_as_it_has_rows_and_a_stack_all_at_once() -> None:
    sizes = {f"a{number}": AdapterSize(modules=20, parameters=0) for number in range(1, 7)}
    mixed = MANY + 'routing = "mixed"\n'
    peft, stacked = (classified(mixed + more, sizes) for more in ("", 'form = "stacked"\n'))
    assert peft is not None
    assert stacked is not None
    loading = 20 * (6 * BESIDE_S + 15 * EACH_BESIDE_S - 6 * SLOT_S)
    assert peft.visit_s - stacked.visit_s == pytest.approx((30 + COUNTED) * 2 * 20 * 1e-4 + loading)
