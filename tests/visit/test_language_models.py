"""Visits of language models and of batches, with real models, in this process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from peft import PeftModel

from raybench.cluster.agenda import Agenda, Job
from raybench.deploy import strategies
from raybench.machine.device import CpuDevice
from raybench.model.lengths import Lengths
from raybench.model.prepare import Recipe, prepared
from raybench.model.weights import resolve_model
from raybench.model.workload import Request
from raybench.plan import file as plan_file
from raybench.schemas import LOADS, SAMPLES
from raybench.store.manifest import VisitKey
from raybench.store.rows import check_columns, check_nulls, check_rows
from raybench.visit.messages import Failed, Finished, Loaded, Message, Samples
from raybench.visit.serving import OPENER_TOKENS
from raybench.visit.spec import VisitSpec
from raybench.visit.visit import run_visit

OUTPUT = 10

PLAN = """
name = "generating"
task_type = "{task_type}"
rounds = 1
requests = 4
warmups = 1
{workload}
[[adapters]]
name = "{{task}}"
tasks = ["support", "sales"]
seeds = [1]
alpha = 8

[[matrix]]
name = "full_{{task}}_b{{batch}}"
strategy = "full_ft"
tasks = ["support", "sales"]
seeds = [1]
batch = [1, 3]

[[matrix]]
name = "separate_{{task}}_b{{batch}}"
strategy = "lora_separate"
tasks = ["support", "sales"]
seeds = [1]
adapters = ["{{task}}"]
batch = [1, 3]

[[matrix]]
name = "merged_{{task}}_b{{batch}}"
strategy = "lora_merged"
tasks = ["support", "sales"]
seeds = [1]
adapters = ["{{task}}"]
batch = [1, 3]

[[configurations]]
name = "multi_b{{batch}}"
strategy = "multi_lora"
seed = 1
adapters = ["support", "sales"]
batch = [1, 3]

[[configurations]]
name = "mixed"
strategy = "multi_lora"
routing = "mixed"
seed = 1
adapters = ["support", "sales"]
batch = 3
"""
WORKLOADS = {
    "CAUSAL_LM": f"[workload]\nprompt_tokens = 9\noutput_tokens = {OUTPUT}\n",
    "SEQ_CLS": "[workload]\nprompt_tokens = 9\n",
}
MODELS = {"CAUSAL_LM": "micro-lm", "SEQ_CLS": "micro"}


class Uneven(Lengths):
    """Requests of 6 to 10 tokens, in turn."""

    def request(self, task: str, index: int) -> Request:
        return dataclasses.replace(super().request(task, index), tokens=6 + index % 5)


def specs_of(tmp_path: Path, task_type: Any) -> dict[str, VisitSpec]:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN.format(task_type=task_type, workload=WORKLOADS[task_type]))
    plan, _ = plan_file.load_plan(str(path), strategies.all_traits(), ())
    recipe = Recipe.of(MODELS[task_type], plan)
    model = prepared(resolve_model(MODELS[task_type], task_type), recipe)
    workload = Uneven([6, 7, 8, 9, 10], OUTPUT if task_type == "CAUSAL_LM" else None, 0)
    return {spec.block: spec for spec in iter(Agenda(Job(plan, workload, model, recipe, "cpu")).next, None)}


def measured(spec: VisitSpec) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The samples and loads of a visit, which the store would take."""
    messages: list[Message] = list(run_visit(spec, CpuDevice(), lambda _: None))
    assert [m for m in messages if isinstance(m, Failed)] == []
    assert isinstance(messages[-1], Finished)
    samples = pa.Table.from_batches([m.batch for m in messages if isinstance(m, Samples)], SAMPLES)
    loads = pa.Table.from_pylist([m.row for m in messages if isinstance(m, Loaded)], LOADS)
    key = VisitKey(visit=spec.visit, block=spec.block, round=spec.round, attempt=spec.attempt)
    for name, table in (("samples", samples), ("loads", loads)):
        check_columns(name, table.schema, "here")
        check_nulls(name, table, "here")
        check_rows(name, table, [key], "here")
    return samples.to_pylist(), {row["configuration"]: row for row in loads.to_pylist()}


def test_the_blocks_are_of_one_batch_each(tmp_path: Path) -> None:
    specs = specs_of(tmp_path, "CAUSAL_LM")
    assert {block: [c.name for c in spec.configurations] for block, spec in specs.items()} == {
        "support_seed1": ["full_support_b1", "separate_support_b1", "merged_support_b1"],
        "support_seed1_batch3": ["full_support_b3", "separate_support_b3", "merged_support_b3"],
        "sales_seed1": ["full_sales_b1", "separate_sales_b1", "merged_sales_b1"],
        "sales_seed1_batch3": ["full_sales_b3", "separate_sales_b3", "merged_sales_b3"],
        "multi_b1": ["multi_b1", "separate_support_b1", "separate_sales_b1"],
        "multi_b3": ["multi_b3", "separate_support_b3", "separate_sales_b3"],
        "mixed": ["mixed", "separate_support_b3", "separate_sales_b3"],
    }


def test_a_language_model_is_measured_step_by_step(tmp_path: Path) -> None:
    rows, loads = measured(specs_of(tmp_path, "CAUSAL_LM")["support_seed1"])
    timed = [row for row in rows if row["phase"] == "timed"]
    assert len(timed) == 3 * 4
    for row in timed:
        assert (row["batch"], row["output_tokens"]) == (1, OUTPUT)
        assert row["tokens"] == 6 + row["request"] % 5
        assert len(row["decode_wall_ns"]) == OUTPUT - 1
        assert row["decode_host_ns"] == row["decode_wall_ns"]
        assert row["decode_device_ns"] is None
        assert row["prefill_device_ns"] is None
        assert row["prefill_wall_ns"] + sum(row["decode_wall_ns"]) <= row["wall_ns"] == row["host_ns"]
    openers = [row for row in rows if row["phase"] == "opener"]
    assert {row["output_tokens"] for row in openers} == {OPENER_TOKENS}
    merged = loads["merged_support_b1"]
    assert 0 < merged["gate_error"] < merged["gate_tolerance"] == 1e-4
    assert merged["argmax_agreement"] == 1.0
    assert 0 <= merged["kl_divergence"] < 1e-8
    separate = loads["separate_support_b1"]
    assert separate["gate_error"] is separate["argmax_agreement"] is separate["kl_divergence"] is None
    assert separate["adapter_effect"] == merged["adapter_effect"] > 1e-3
    assert loads["full_support_b1"]["adapter_effect"] is None


@pytest.mark.parametrize("task_type", ["CAUSAL_LM", "SEQ_CLS"])
def test_a_batch_is_one_sample_of_several_prompts(tmp_path: Path, task_type: str) -> None:
    rows, loads = measured(specs_of(tmp_path, task_type)["sales_seed1_batch3"])
    timed = [row for row in rows if row["phase"] == "timed"]
    assert len(timed) == 3 * 4
    for row in timed:
        first = 3 * row["request"]
        assert row["tokens"] == sum(6 + (first + i) % 5 for i in range(3))
        assert row["batch"] == 3
        assert row["output_tokens"] == (OUTPUT if task_type == "CAUSAL_LM" else None)
        assert (row["prefill_wall_ns"] is None) == (row["decode_wall_ns"] is None) == (task_type == "SEQ_CLS")
    assert loads["merged_sales_b3"]["gate_error"] < 1e-4


@pytest.mark.parametrize("task_type", ["CAUSAL_LM", "SEQ_CLS"])
def test_a_mixed_batch_and_its_counterparts_serve_the_same_prompts(
    tmp_path: Path, task_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[str]] = []
    hooks = PeftModel._enable_peft_forward_hooks

    def listening(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "adapter_names" in kwargs:
            told.append(kwargs["adapter_names"])
        return hooks(self, *args, **kwargs)

    monkeypatch.setattr(PeftModel, "_enable_peft_forward_hooks", listening)
    rows, loads = measured(specs_of(tmp_path, task_type)["mixed"])
    timed = [row for row in rows if row["phase"] == "timed"]
    by_name = {name: [r for r in timed if r["configuration"] == name] for name in {r["configuration"] for r in timed}}
    served = {name: sorted((r["task"], r["request"], r["tokens"]) for r in of) for name, of in by_name.items()}
    assert len(served) == 3
    assert len({str(of) for of in served.values()}) == 1
    assert {r["adapter"] for r in by_name["mixed"]} == {None}
    assert {r["adapter"] for r in by_name["separate_sales_b3"]} == {"sales"}
    assert {r["switch_ns"] for r in timed} == {None}
    assert loads["mixed"]["gate_error"] < 1e-4
    assert loads["mixed"]["argmax_agreement"] == 1.0
    assert {tuple(names) for names in told} == {("support", "sales", "support"), ("sales", "support", "sales")}


def test_a_batch_of_one_adapter_is_switched_to(tmp_path: Path) -> None:
    rows, _ = measured(specs_of(tmp_path, "CAUSAL_LM")["multi_b3"])
    multi = [row for row in rows if row["phase"] == "timed" and row["configuration"] == "multi_b3"]
    assert [row["adapter"] for row in sorted(multi, key=lambda r: r["request"])] == ["support", "sales"] * 2
    assert all(row["switch_ns"] > 0 for row in multi)


def test_rows_that_go_through_the_wrong_adapter_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks: Callable[..., Any] = PeftModel._enable_peft_forward_hooks

    def turned(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "adapter_names" in kwargs:
            kwargs["adapter_names"] = kwargs["adapter_names"][::-1][1:] + kwargs["adapter_names"][:1]
        return hooks(self, *args, **kwargs)

    monkeypatch.setattr(PeftModel, "_enable_peft_forward_hooks", turned)
    messages = list(run_visit(specs_of(tmp_path, "CAUSAL_LM")["mixed"], CpuDevice(), lambda _: None))
    failed = [m for m in messages if isinstance(m, Failed)]
    assert [(m.configuration, m.kind) for m in failed] == [("mixed", "gate")]
    assert "logits differ from adapter" in failed[0].message
