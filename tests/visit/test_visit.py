"""A visit with real models, in this process."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pyarrow as pa
import pytest
import torch
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from model.small_checkpoints import llama_config, save_adapter, save_model
from raybench.cluster.agenda import Agenda, Job
from raybench.deploy import strategies
from raybench.deploy.strategy import Deployment
from raybench.machine.device import CpuDevice
from raybench.model.prepare import Recipe, prepared
from raybench.model.weights import resolve_model
from raybench.model.workload import GlueLengths
from raybench.plan.plan import Plan
from raybench.schemas import CALIBRATIONS, COUNTS, FAILURES, LOADS, SAMPLES, VISITS
from raybench.visit.messages import Calibrated, Counted, Failed, Finished, Loaded, Message, Samples
from raybench.visit.spec import VisitSpec
from raybench.visit.visit import Visit, _warmup_ns, run_visit
from runs import job_of


@pytest.fixture
def specs(load_plan: Callable[..., Plan]) -> dict[str, VisitSpec]:
    plan = load_plan(rounds=1)
    recipe = Recipe.of("micro", plan)
    agenda = Agenda(Job(plan, GlueLengths(0), prepared(resolve_model("micro"), recipe), recipe, "cpu"))
    return {spec.block: spec for spec in iter(agenda.next, None)}


def run(spec: VisitSpec, calibrates: bool = False) -> tuple[list[Message], list[int]]:
    """Calibrating is a third of such a visit: only those do it whose calibration is looked at."""
    told: list[int] = []
    spec = dataclasses.replace(spec, calibrates=calibrates)
    return list(run_visit(spec, CpuDevice(), told.append, fork_ns=3)), told


def of(kind: type, messages: list[Message]) -> list:
    return [m for m in messages if isinstance(m, kind)]


def test_a_visit_loads_checks_and_times_every_configuration(specs: dict[str, VisitSpec]) -> None:
    messages, told = run(specs["mrpc_seed42"])
    loads = {m.row["configuration"]: m.row for m in of(Loaded, messages)}
    assert set(loads) == {"fullft_mrpc_seed42", "lora_mrpc_seed42", "lora_merged_mrpc_seed42"}
    for row in loads.values():
        assert set(row) == set(LOADS.names)
    merged = loads["lora_merged_mrpc_seed42"]
    assert merged["gate_error"] < merged["gate_tolerance"] == 1e-4
    assert merged["merge_ns"] > 0
    assert merged["adapter_effect"] == loads["lora_mrpc_seed42"]["adapter_effect"] > 1e-3
    assert loads["fullft_mrpc_seed42"]["adapter_effect"] is None
    assert loads["fullft_mrpc_seed42"]["adapter_load_ns"] is None
    assert loads["lora_mrpc_seed42"]["gate_error"] is None
    # 8 layers of q_proj (64 -> 64) and v_proj (64 -> 32) at r = 8, and the head kept with the adapter; float32.
    assert loads["lora_mrpc_seed42"]["adapter_bytes"] == 4 * (8 * (8 * 64 + 64 * 8 + 8 * 64 + 32 * 8) + 2 * 64)
    rows = [r for m in of(Samples, messages) for r in m.batch.to_pylist()]
    assert all(m.batch.schema.equals(SAMPLES) for m in of(Samples, messages))
    counts = {(r["configuration"], r["phase"]) for r in rows}
    assert len(counts) == 9
    timed = sorted((r["configuration"], r["task"], r["request"]) for r in rows if r["phase"] == "timed")
    assert timed == sorted((name, "mrpc", i) for name in loads for i in range(4))
    assert min(r["wall_ns"] for r in rows) > 0
    assert {r["device_ns"] for r in rows} == {None}
    (end,) = of(Finished, messages)
    assert messages[-1] is end
    assert set(end.row) == set(VISITS.names)
    assert end.row["fork_ns"] == 3
    assert told[-1] == -1
    assert not of(Failed, messages)
    assert set(FAILURES.names) >= {"configuration", "kind", "message"}


def test_what_each_configuration_does_is_counted_once_and_the_device_is_calibrated_around_the_turns(
    specs: dict[str, VisitSpec],
) -> None:
    spec = specs["mrpc_seed42"]
    messages, told = run(spec, calibrates=True)
    order = [type(m) for m in messages if not isinstance(m, Loaded)]
    assert order == [Calibrated, *[Samples] * order.count(Samples), Calibrated, *[Counted] * 3, Finished]
    assert told[-4:] == [0, 1, 2, -1]
    calibrations = [m.row for m in of(Calibrated, messages)]
    assert [row["place"] for row in calibrations] == ["before", "after"]
    for row in calibrations:
        assert set(row) == set(CALIBRATIONS.names)
        assert row["not_calibrated"] is None
        assert min(row["instruction_ns"], row["view_ns"], row["product_ns"], row["flops_s"]) > 0
    assert [row["memory_bytes_s"] is None for row in calibrations] == [True, False]
    assert [row["dtype"] for row in calibrations] == ["float32", "float32"]
    rows = [row for m in of(Counted, messages) for row in m.rows]
    assert all(set(row) == set(COUNTS.names) for row in rows)
    assert {row["dtype"] for row in rows} == {"float32"}
    lengths = sorted({request.tokens for request in spec.requests[0]})
    shortest, middle, longest = lengths[0], lengths[len(lengths) // 2], lengths[-1]
    by_name = {
        c.name: {row["tokens"]: row for row in rows if row["configuration"] == c.name} for c in spec.configurations
    }
    for found in by_name.values():
        assert list(found) == [shortest, middle, longest]
        assert {row["step"] for row in found.values()} == {"forward"}
        assert {row["not_counted"] for row in found.values()} == {None}
    full, merged = by_name["fullft_mrpc_seed42"][longest], by_name["lora_merged_mrpc_seed42"][longest]
    separate = by_name["lora_mrpc_seed42"][longest]
    done = [name for name in COUNTS.names if name not in ("configuration", "visit")]
    assert [full[name] for name in done] == [merged[name] for name in done]
    # 8 layers of q_proj (64 -> 64) and v_proj (64 -> 32), each with two products more, of rank 8.
    assert separate["products"] - full["products"] == 8 * 2 * 2
    assert separate["flops"] - full["flops"] == 2 * longest * 8 * (64 * 8 + 8 * 64 + 64 * 8 + 8 * 32)
    assert separate["weight_bytes"] - full["weight_bytes"] == 4 * 8 * (64 * 8 + 8 * 64 + 64 * 8 + 8 * 32)
    assert separate["instructions"] > full["instructions"]


def test_nothing_is_counted_after_the_first_round(specs: dict[str, VisitSpec]) -> None:
    messages, _ = run(dataclasses.replace(specs["mrpc_seed42"], round=1), calibrates=True)
    assert of(Counted, messages) == []
    assert len(of(Calibrated, messages)) == 2


def test_a_visit_that_is_not_to_calibrate_does_not(specs: dict[str, VisitSpec]) -> None:
    messages, _ = run(specs["mrpc_seed42"], calibrates=False)
    assert of(Calibrated, messages) == []
    assert len(of(Counted, messages)) == 3


def test_the_device_is_calibrated_in_the_data_type_of_the_plans_first_that_is_loaded(
    specs: dict[str, VisitSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[torch.dtype] = []

    def asking(_: object, dtype: torch.dtype, **__: object) -> None:
        asked.append(dtype)
        raise RuntimeError("enough")

    monkeypatch.setattr("raybench.visit.visit.calibrate", asking)
    first, *others = specs["mrpc_seed42"].configurations
    own = (first, *(dataclasses.replace(c, dtype="bfloat16") for c in others))
    visit = Visit(dataclasses.replace(specs["mrpc_seed42"], configurations=own), CpuDevice(), lambda _: None)
    visit.loaded = {c.name: (c, cast("Deployment", None)) for c in reversed(own)}  # another order than the plan's
    rows = [m.row for m in of(Calibrated, list(visit.calibrate("before")))]
    del visit.loaded[first.name]
    rows += [m.row for m in of(Calibrated, list(visit.calibrate("after")))]
    assert [row["dtype"] for row in rows] == ["float32", "bfloat16"]
    assert asked == [torch.float32, torch.bfloat16]


def test_counting_that_fails_leaves_what_was_measured_as_it_is(
    specs: dict[str, VisitSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("no such\ncounter")

    monkeypatch.setattr("raybench.visit.visit.calibrate", failing)
    monkeypatch.setattr("raybench.deploy.counting.operations_of", failing)
    messages, _ = run(specs["mrpc_seed42"], calibrates=True)
    assert of(Failed, messages) == []
    assert isinstance(messages[-1], Finished)
    for message in of(Calibrated, messages):
        assert (message.row["view_ns"], message.row["not_calibrated"]) == (None, "RuntimeError: no such counter")
    for row in (row for m in of(Counted, messages) for row in m.rows):
        assert (row["operations"], row["not_counted"]) == (None, "operations: RuntimeError: no such counter")
        assert row["instructions"] > 0


def test_a_base_without_a_head_is_measured_and_what_was_found_is_kept(
    load_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    """Each load draws the same head: the merged and the resident adapters are those that they are alone."""
    plan = load_plan(rounds=1, requests=2)
    base = save_model(LlamaForCausalLM, llama_config(vocab_size=1024), tmp_path / "base")
    beside = save_model(LlamaForSequenceClassification, llama_config(vocab_size=1024), tmp_path / "beside")
    save_adapter(beside, tmp_path / "beside")
    agenda = Agenda(Job(plan, GlueLengths(0), resolve_model(base), Recipe("", (), ()), "cpu"))
    found = {}
    for spec in iter(agenda.next, None):
        own = tuple(
            dataclasses.replace(c, checkpoint=beside) if c.name == "fullft_sst2_seed42" else c
            for c in spec.configurations
        )
        messages, _ = run(dataclasses.replace(spec, configurations=own))
        assert of(Failed, messages) == []
        found |= {m.row["configuration"]: m.row for m in of(Loaded, messages)}
    notes = {name: (row["random_weights"], row["unused_adapter"]) for name, row in found.items()}
    expected = dict.fromkeys(notes, ("base: score.weight", None))
    assert len(notes) == 7
    assert notes == expected | {"fullft_sst2_seed42": (None, beside)}


def test_requests_have_the_lengths_that_the_workload_says(specs: dict[str, VisitSpec]) -> None:
    messages, _ = run(specs["sst2_seed42"])
    workload = GlueLengths(0)
    for row in (r for m in of(Samples, messages) for r in m.batch.to_pylist()):
        assert row["tokens"] == workload.request("sst2", row["request"]).tokens


def test_several_adapters_serve_in_turn_and_each_switch_is_timed(specs: dict[str, VisitSpec]) -> None:
    messages, _ = run(specs["multi_lora_2_adapters"])
    rows = [r for m in of(Samples, messages) for r in m.batch.to_pylist() if r["phase"] == "timed"]
    multi = sorted((r["request"], r["task"], r["adapter"]) for r in rows if r["configuration"].startswith("multi"))
    assert multi == [
        (0, "mrpc", "mrpc_seed42"),
        (1, "sst2", "sst2_seed42"),
        (2, "mrpc", "mrpc_seed42"),
        (3, "sst2", "sst2_seed42"),
    ]
    assert all((r["switch_ns"] is not None) == r["configuration"].startswith("multi") for r in rows)
    separate = sorted((r["request"], r["task"]) for r in rows if not r["configuration"].startswith("multi"))
    assert separate == [(i, task) for i, task, _ in multi]


def test_a_round_of_fewer_requests_than_tasks_is_measured(load_plan: Callable[..., Plan]) -> None:
    plan = load_plan(requests=1)
    recipe = Recipe.of("micro", plan)
    agenda = Agenda(Job(plan, GlueLengths(0), prepared(resolve_model("micro"), recipe), recipe, "cpu"))
    multi = [spec for spec in iter(agenda.next, None) if spec.block == "multi_lora_2_adapters"]
    for spec in multi:
        messages, _ = run(spec)
        assert of(Failed, messages) == []
        timed = [row for m in of(Samples, messages) for row in m.batch.to_pylist() if row["phase"] == "timed"]
        assert {row["configuration"] for row in timed} == {c.name for c in spec.configurations}
    assert len(multi) == 2


def test_a_configuration_that_cannot_be_loaded_fails_and_the_others_are_measured(
    load_plan: Callable[..., Plan], tmp_path: pytest.TempPathFactory
) -> None:
    import dataclasses

    plan = load_plan(rounds=1)
    recipe = Recipe.of("micro", plan)
    spec = Agenda(Job(plan, GlueLengths(0), prepared(resolve_model("micro"), recipe), recipe, "cpu")).next()
    assert spec is not None
    broken = tuple(
        dataclasses.replace(c, checkpoint=f"{tmp_path}/absent") if c.strategy == "full_ft" else c
        for c in spec.configurations
    )
    messages, _ = run(dataclasses.replace(spec, configurations=broken))
    (failed,) = of(Failed, messages)
    assert (failed.configuration, failed.kind) == ("fullft_mrpc_seed42", "error")
    assert "absent" in failed.message
    assert "\n" not in failed.message
    names = {r["configuration"] for m in of(Samples, messages) for r in m.batch.to_pylist()}
    assert names == {"lora_mrpc_seed42", "lora_merged_mrpc_seed42"}


class WrongMerge(strategies.LoraMerged):
    """Forgets the adapter: the base answers."""

    def load(self, configuration, weights, costs):  # type: ignore[no-untyped-def]
        with costs.time("load"):
            model = weights.base(configuration)
        return strategies.Deployment(model, model)


def test_wrong_logits_fail_at_the_gate_with_the_numbers(
    specs: dict[str, VisitSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(strategies.STRATEGIES, "lora_merged", WrongMerge)
    messages, _ = run(specs["mrpc_seed42"])
    (failed,) = of(Failed, messages)
    assert (failed.configuration, failed.kind) == ("lora_merged_mrpc_seed42", "gate")
    assert "tolerance 0.0001" in failed.message
    assert "mrpc_seed42 alone by 0." in failed.message
    names = {r["configuration"] for m in of(Samples, messages) for r in m.batch.to_pylist()}
    assert names == {"fullft_mrpc_seed42", "lora_mrpc_seed42"}


@pytest.mark.parametrize("error", ["MemoryError", "torch.OutOfMemoryError"])
def test_out_of_memory_is_its_own_kind_of_failure(
    specs: dict[str, VisitSpec], monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    import torch

    raised = MemoryError if error == "MemoryError" else torch.OutOfMemoryError

    class Hungry(strategies.FullFineTune):
        def load(self, configuration, weights, costs):  # type: ignore[no-untyped-def]
            raise raised("tried to allocate 80 GiB")

    monkeypatch.setitem(strategies.STRATEGIES, "full_ft", Hungry)
    messages, _ = run(specs["mrpc_seed42"])
    (failed,) = of(Failed, messages)
    assert (failed.configuration, failed.kind) == ("fullft_mrpc_seed42", "out_of_memory")
    assert "80 GiB" in failed.message


def test_when_nothing_can_be_loaded_the_visit_still_ends(
    load_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no device")

    spec = Agenda(job_of(load_plan(rounds=1))).next()
    assert spec is not None
    monkeypatch.setattr("raybench.visit.loading.deploy", broken)
    messages, _ = run(spec)
    assert len(of(Failed, messages)) == 3
    assert isinstance(messages[-1], Finished)


def test_the_load_order_changes_with_the_round_and_not_with_the_run(specs: dict[str, VisitSpec]) -> None:
    import dataclasses

    def order(round_index: int) -> list[str]:
        spec = dataclasses.replace(specs["mrpc_seed42"], round=round_index)
        return [m.row["configuration"] for m in of(Loaded, run(spec)[0])]

    assert order(0) == order(0)
    assert len({tuple(order(i)) for i in range(6)}) > 1


def test_a_visit_is_sent_whole_and_what_configurations_share_is_sent_once(load_plan: Callable[..., Plan]) -> None:
    spec = Agenda(job_of(load_plan(requests=50))).next()
    assert spec is not None
    assert spec.requests[0] is spec.requests[1]
    sent = pickle.dumps(spec)
    found = pickle.loads(sent)
    assert found == spec
    assert found.requests[0] is found.requests[1]
    alone = dataclasses.replace(spec, configurations=spec.configurations[:1], requests=spec.requests[:1])
    assert len(sent) - len(pickle.dumps(alone)) < 1000


def test_warmups_that_are_under_way_together_take_their_time_once() -> None:
    """Two from 0 to 10 and 2 to 12, a third from 20 to 25; what is timed does not count."""
    batch = pa.record_batch(
        {
            "started_ns": [2, 0, 20, 30],
            "wall_ns": [10, 10, 5, 100],
            "phase": ["warmup", "warmup", "warmup", "timed"],
        }
    )
    assert _warmup_ns(batch) == 17
