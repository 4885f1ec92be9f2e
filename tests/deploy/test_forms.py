"""Strategies in another form: what comes up computes what PEFT does, and the gate stops what does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from raybench.deploy.gate import TOLERANCE, Gate, GateError
from raybench.deploy.parameters import parameter_bytes
from raybench.deploy.strategies import Deployment, LoadCosts, all_traits, deploy
from raybench.machine.device import CpuDevice
from raybench.model.prepare import Recipe, prepared
from raybench.model.prompts import Prompts, as_tensors
from raybench.model.weights import Weights, resolve_model
from raybench.model.workload import GlueLengths, request_of
from raybench.plan.plan import Configuration, Plan

NAMES = {
    "full_ft": "fullft_mrpc_seed42",
    "lora_merged": "lora_merged_mrpc_seed42",
    "lora_separate": "lora_mrpc_seed42",
    "multi_lora": "multi_lora_2_adapters",
}
FORMS = [(name, form) for name in NAMES for form in all_traits()[name].forms[1:]]


@pytest.fixture
def plan(load_plan: Callable[..., Plan]) -> Plan:
    return load_plan()


@pytest.fixture
def weights(plan: Plan) -> Weights:
    return Weights(prepared(resolve_model("micro"), Recipe.of("micro", plan)), CpuDevice())


@pytest.fixture(scope="module")
def probes() -> dict[str, list[Prompts]]:
    return {task: [probe(task, i) for i in range(2)] for task in ("mrpc", "sst2")}


def probe(task: str, index: int, batch: int = 1, tasks: tuple[str, ...] = ()) -> Prompts:
    request = request_of(GlueLengths(0), task, index, batch, tasks)
    return as_tensors(request, "SEQ_CLS", "cpu", vocabulary_size=1024, pad_token_id=0)


@pytest.fixture(autouse=True)
def _inference() -> Any:
    with torch.inference_mode():
        yield


def named(plan: Plan, strategy: str, **changes: Any) -> Configuration:
    return dataclasses.replace(next(c for c in plan.configurations if c.name == NAMES[strategy]), **changes)


def up(configuration: Configuration, weights: Weights) -> tuple[Deployment, LoadCosts]:
    costs = LoadCosts(weights.device)
    return deploy(configuration, weights, costs), costs


def test_every_form_that_a_strategy_has_is_tried() -> None:
    assert FORMS == [
        ("full_ft", "fused"),
        ("lora_merged", "fused"),
        ("lora_separate", "lean"),
        ("lora_separate", "fused"),
        ("multi_lora", "stacked"),
        ("multi_lora", "remerge"),
    ]


@pytest.mark.parametrize(("strategy", "form"), FORMS)
def test_the_gate_holds_each_form_to_what_it_stands_for(
    plan: Plan, weights: Weights, probes: Any, strategy: str, form: Any
) -> None:
    configuration = named(plan, strategy, form=form)
    deployment, costs = up(configuration, weights)
    usual, _ = up(named(plan, strategy), weights)
    result = Gate(weights, probes, {}).check(configuration, deployment)
    assert (result.error is not None, result.tolerance) == (True, TOLERANCE["float32"])
    assert (result.effect is None) == (strategy == "full_ft")
    assert costs.form_ns is not None
    assert costs.adapter_bytes == parameter_bytes(usual.model)[0]
    assert not [name for name, _ in deployment.model.named_modules() if "lora" in name]


@pytest.mark.parametrize(("strategy", "form"), [pair for pair in FORMS if pair[1] != "remerge"])
def test_the_gate_stops_a_form_that_computes_something_else(
    plan: Plan, weights: Weights, probes: Any, strategy: str, form: Any
) -> None:
    configuration = named(plan, strategy, form=form)
    deployment, _ = up(configuration, weights)
    for name, parameter in deployment.model.named_parameters():
        if name.endswith(("fused", "up", "ups")):
            parameter.data.mul_(0.9)
    with pytest.raises(GateError, match=r"logits differ from .* \(relative; tolerance 0\.0001\)"):
        Gate(weights, probes, {}).check(configuration, deployment)


def test_a_form_beside_the_usual_one_is_checked_by_peft_and_not_by_itself(
    plan: Plan, weights: Weights, probes: Any
) -> None:
    lean, usual = named(plan, "lora_separate", form="lean", name="lean"), named(plan, "lora_separate")
    loaded = {c.name: (c, up(c, weights)[0]) for c in (lean, usual)}
    for name, parameter in loaded["lean"][1].model.named_parameters():
        if name.endswith("up"):
            parameter.data.mul_(2)
    gate = Gate(weights, probes, loaded)
    assert gate.check(usual, loaded[usual.name][1]).error is None
    with pytest.raises(GateError, match="lean: logits differ from adapter mrpc_seed42 alone"):
        gate.check(lean, loaded["lean"][1])


def test_a_stack_mixes_adapters_in_a_batch(plan: Plan, weights: Weights) -> None:
    configuration = named(plan, "multi_lora", form="stacked", routing="mixed", batch=4)
    deployment, _ = up(configuration, weights)
    assert (deployment.switch, deployment.mixed is None) == (None, False)
    mixed = {"mrpc": [probe("mrpc", 0, 4, ("mrpc", "sst2"))]}
    result = Gate(weights, mixed, {}).check(configuration, deployment)
    assert result.error is not None
    assert result.error < TOLERANCE["float32"]


def test_a_form_that_is_held_to_the_usual_one_is_held_to_it_adapter_by_adapter(
    plan: Plan, weights: Weights, probes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a strategy from outside that need not give each adapter's own answers."""
    monkeypatch.setattr("raybench.deploy.strategies.MultiLora.reproduces_adapters", False)
    configuration = named(plan, "multi_lora", form="stacked")
    result = Gate(weights, probes, {}).check(configuration, up(configuration, weights)[0])
    assert result.error is not None
    assert result.error < TOLERANCE["float32"]
