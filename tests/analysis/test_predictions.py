"""Predictions and attributions of made runs whose counts, calibrations and times are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from generated_runs import MS, PLAN, Took, generated, load_generated
from machine.known_device import KNOWN
from raybench.analysis.tables import Tables
from raybench.machine.calibration import Calibration
from raybench.machine.operations import Operations
from raybench.model.weights import ModelSpec
from raybench.plan.plan import Configuration

PREFILL = Operations(
    flops=50_000_000, attention_flops=8_000_000, weight_bytes=1_700_000, activation_bytes=9_000_000,
    product_bytes=3_800_000, operations=330, views=170, products=57, attention=8,
)  # fmt: skip
DECODE = Operations(
    flops=900_000, attention_flops=100_000, weight_bytes=1_700_000, activation_bytes=200_000,
    product_bytes=1_750_000, operations=340, views=180, products=57, attention=8, generated=3,
)  # fmt: skip
INSTRUCTIONS = 37_000


def row(step: str, did: Operations, tokens: int = 5, **others: Any) -> dict[str, Any]:
    counted = {name: value for name, value in dataclasses.asdict(did).items() if name != "unknown"}
    return {"step": step, "tokens": tokens, "instructions": INSTRUCTIONS} | counted | others


def with_more(did: Operations, c: Configuration) -> Operations:
    """A separate adapter dispatches more."""
    more = 66 if c.strategy == "lora_separate" else 0
    return dataclasses.replace(
        did, operations=did.operations + more, activation_bytes=did.activation_bytes + more * 1000
    )


def both_steps(c: Configuration) -> list[dict[str, Any]]:
    return [row("prefill", with_more(PREFILL, c)), row("decode", with_more(DECODE, c))]


def cost(c: Configuration, task: str, request: int, round_index: int) -> Took:
    return Took(5 * MS + (MS if c.strategy == "lora_separate" else 0) + round_index, [2 * MS + round_index] * 3)


def ms_of(did: Operations, known: Calibration = KNOWN) -> tuple[float, float]:
    return known.host_ns(did, INSTRUCTIONS) / 1e6, known.device_ns(did) / 1e6


def by_configuration(tables: Tables, table: str, **where: str) -> dict[str, dict[str, Any]]:
    rows = tables.rows(f"FROM {table}")
    found = [r for r in rows if all(r[key] == value for key, value in where.items())]
    named = {r["configuration"]: r for r in found}
    assert len(named) == len(found)
    return named


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("predicted")
    calibration = dataclasses.asdict(KNOWN)
    return Tables(generated(load_generated(folder), folder, cost, counts=both_steps, calibration=calibration))


def test_a_part_of_a_request_is_predicted_by_its_counts_and_the_constants(language: Tables) -> None:
    for measure, did, measured_ms in (("ttft", PREFILL, 5.000001), ("tpot", DECODE, 2.000001)):
        found = by_configuration(language, "predictions", measure=measure)["merged_mrpc"]
        host_ms, device_ms = ms_of(did)
        assert (found["host_ms"], found["device_ms"]) == pytest.approx((host_ms, device_ms), rel=1e-12)
        assert found["predicted_ms"] == pytest.approx(host_ms + device_ms, rel=1e-12)
        assert found["measured_ms"] == pytest.approx(measured_ms, rel=1e-12)
        assert found["error"] == pytest.approx((host_ms + device_ms) / measured_ms - 1, rel=1e-9)
        assert (found["flops"], found["operations"], found["views"]) == (did.flops, did.operations, did.views)
        assert (found["instructions"], found["kernels"], found["not_counted"]) == (INSTRUCTIONS, None, None)


def test_a_whole_request_is_its_prefill_and_all_its_decoding_steps(language: Tables) -> None:
    found = by_configuration(language, "predictions", measure="end_to_end")["merged_mrpc"]
    assert found["flops"] == PREFILL.flops + 3 * DECODE.flops
    assert found["weight_bytes"] == 4 * 1_700_000
    expected = [a + 3 * b for a, b in zip(ms_of(PREFILL), ms_of(DECODE), strict=True)]
    assert [found["host_ms"], found["device_ms"]] == pytest.approx(expected, rel=1e-12)
    assert found["predicted_ms"] == pytest.approx(sum(expected), rel=1e-12)


def test_what_a_separate_adapter_does_more_of_and_where_its_time_goes(language: Tables) -> None:
    found = by_configuration(language, "attribution", measure="ttft", reference_strategy="full_ft")["lora_mrpc"]
    assert found["more_flops"] == 0
    assert found["more_operations"] == pytest.approx(66 / 330)
    assert found["more_bytes"] == pytest.approx(66_000 / 10_700_000)
    assert found["more_instructions"] == 0
    assert found["extra_ms"] == pytest.approx(1)
    assert found["dispatch_ms"] == pytest.approx(66 * 1500 / 1e6)
    assert found["device_ms"] == pytest.approx(66_000 / 1e10 * 1e3)
    assert found["unexplained_ms"] == pytest.approx(1 - 0.099 - 0.0066)


def test_a_configuration_is_attributed_to_each_reference_that_was_measured_beside_it(language: Tables) -> None:
    rows = language.rows("SELECT DISTINCT configuration, reference_strategy FROM attribution")
    found = {(r["configuration"], r["reference_strategy"]) for r in rows}
    direct = language.rows("FROM comparisons WHERE via IS NULL AND configuration <> reference")
    assert found == {(r["configuration"], r["reference_strategy"]) for r in direct}
    multi = by_configuration(language, "attribution", measure="ttft", reference_strategy="lora_separate")["multi"]
    # Guests: the counts of the two separate adapters in that block.
    assert multi["more_operations"] == pytest.approx(330 / 396 - 1)


RATES = {"flops_s": 4e13, "attention_flops_s": 2e13, "bytes_s": 1e13, "memory_bytes_s": 8e12}
"""Of a device so fast that it waits for its host."""
CLASSIFIER = PLAN.replace('task_type = "CAUSAL_LM"\n', "").replace("output_tokens = 4\n", "")
SEQ_CLS = ModelSpec("micro", "preset_device")
TOKENS = (10, 30, 40, 60)


def classified(c: Configuration, task: str, request: int, round_index: int) -> Mapping[str, Any]:
    took = 7 * MS + round_index
    return {"host_ns": took, "wall_ns": took, "tokens": TOKENS[request % 4]}


def made(folder: Path, counts: Any, **calibration: Any) -> Tables:
    values = dataclasses.asdict(KNOWN) | calibration
    plan = load_generated(folder, CLASSIFIER)
    return Tables(generated(plan, folder, classified, counts=counts, calibration=values, model=SEQ_CLS))


def at_lengths(*lengths: int) -> Any:
    def of(c: Configuration) -> Sequence[Mapping[str, Any]]:
        return [row("forward", dataclasses.replace(PREFILL, flops=1_000_000 * n + 8_000_000), n) for n in lengths]

    return of


def test_counts_are_on_a_line_through_the_lengths_that_were_counted(tmp_path: Path) -> None:
    found = by_configuration(made(tmp_path, at_lengths(10, 20, 50)), "predictions")["fullft_mrpc"]
    assert (found["measure"], found["tokens"]) == ("end_to_end", 35)
    assert found["flops"] == pytest.approx(43_000_000)
    assert found["operations"] == pytest.approx(330)
    host_ms, device_ms = ms_of(dataclasses.replace(PREFILL, flops=43_000_000))
    assert found["predicted_ms"] == pytest.approx(host_ms + device_ms)


def test_counts_of_one_length_stand_for_all(tmp_path: Path) -> None:
    found = by_configuration(made(tmp_path, at_lengths(20)), "predictions")["fullft_mrpc"]
    assert found["flops"] == 28_000_000


def test_on_a_gpu_the_longer_of_host_and_device_is_the_prediction(tmp_path: Path) -> None:
    def counts(c: Configuration) -> list[dict[str, Any]]:
        return [row("forward", PREFILL, kernels=400)]

    slow = by_configuration(made(tmp_path, counts, kernel_ns=20_000.0), "predictions")["fullft_mrpc"]
    host_ms, floor_ms = ms_of(PREFILL)
    assert slow["device_ms"] == pytest.approx(floor_ms + 8) == slow["predicted_ms"] > host_ms == slow["host_ms"]
    (tmp_path / "fast").mkdir()
    fast = by_configuration(made(tmp_path / "fast", counts, kernel_ns=1.0, **RATES), "predictions")["fullft_mrpc"]
    assert fast["predicted_ms"] == pytest.approx(host_ms)


def test_on_a_gpu_only_dispatch_beyond_the_devices_time_is_attributed(tmp_path: Path) -> None:
    def counts(c: Configuration) -> list[dict[str, Any]]:
        more = INSTRUCTIONS + (10_000 if c.strategy == "lora_separate" else 0)
        return [row("forward", PREFILL, kernels=400) | {"instructions": more}]

    def of_pair(folder: str, **calibration: Any) -> list[Any]:
        (tmp_path / folder).mkdir()
        tables = made(tmp_path / folder, counts, **calibration)
        host = by_configuration(tables, "predictions")
        assert host["lora_mrpc"]["host_ms"] - host["fullft_mrpc"]["host_ms"] == pytest.approx(0.2)
        found = by_configuration(tables, "attribution", reference_strategy="full_ft")["lora_mrpc"]
        assert found["extra_ms"] == 0
        return [found[name] for name in ("dispatch_ms", "device_ms", "unexplained_ms")]

    assert of_pair("bound by the device", kernel_ns=20_000.0) == [0, 0, 0]
    assert of_pair("bound by the host", kernel_ns=1.0, **RATES) == pytest.approx([0.2, 0, -0.2])
    # The reference's device works for half of the difference longer than its host.
    host_ms, floor_ms = ms_of(PREFILL, dataclasses.replace(KNOWN, **RATES))
    kernel_ns = (host_ms + 0.1 - floor_ms) * 1e6 / 400
    assert of_pair("in between", kernel_ns=kernel_ns, **RATES) == pytest.approx([0.1, 0, -0.1])


def test_what_was_not_counted_is_not_predicted_and_why_is_said(tmp_path: Path) -> None:
    def counts(c: Configuration) -> list[dict[str, Any]]:
        known = row("forward", PREFILL)
        if c.strategy != "full_ft":
            return [known]
        return [known, row("forward", PREFILL, 20, operations=None, not_counted="operations: no such thing")]

    tables = made(tmp_path, counts)
    found = by_configuration(tables, "predictions")
    assert found["fullft_mrpc"]["not_counted"] == "operations: no such thing" == found["fullft_mrpc"]["not_predicted"]
    assert (found["fullft_mrpc"]["operations"], found["fullft_mrpc"]["predicted_ms"]) == (None, None)
    assert found["fullft_mrpc"]["flops"] == PREFILL.flops
    assert found["merged_mrpc"]["predicted_ms"] is not None
    of_pair = by_configuration(tables, "attribution", reference_strategy="full_ft")["merged_mrpc"]
    assert (of_pair["more_operations"], of_pair["dispatch_ms"], of_pair["more_flops"]) == (None, None, 0)


def test_of_another_data_type_than_the_calibrated_one_nothing_is_predicted(tmp_path: Path) -> None:
    def counts(c: Configuration) -> list[dict[str, Any]]:
        return [row("forward", PREFILL, dtype="float16" if c.strategy == "lora_separate" else "float32")]

    tables = made(tmp_path, counts, dtype="float32")
    found = by_configuration(tables, "predictions")
    other, same = found["lora_mrpc"], found["merged_mrpc"]
    assert (other["host_ms"], other["device_ms"], other["predicted_ms"], other["error"]) == (None, None, None, None)
    assert other["not_predicted"] == "the device was calibrated in float32, not in float16"
    assert (other["flops"], other["not_counted"]) == (PREFILL.flops, None)
    assert same["predicted_ms"] == pytest.approx(sum(ms_of(PREFILL)))
    assert same["not_predicted"] is None
    of_pair = by_configuration(tables, "attribution", reference_strategy="full_ft")["lora_mrpc"]
    assert (of_pair["dispatch_ms"], of_pair["device_ms"], of_pair["unexplained_ms"]) == (None, None, None)


def test_a_device_that_was_not_calibrated_predicts_nothing(tmp_path: Path) -> None:
    nothing = dict.fromkeys(dataclasses.asdict(KNOWN))
    tables = made(tmp_path, at_lengths(20), **nothing, not_calibrated="RuntimeError: no")
    for found in tables.rows("FROM predictions"):
        assert (found["flops"], found["predicted_ms"], found["error"]) == (28_000_000, None, None)
        assert found["not_predicted"] == "the device was not calibrated: RuntimeError: no"
