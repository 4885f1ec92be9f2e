"""Each way to deploy: what it loads, what it computes, what each step is said to have cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from raybench.deploy import strategies
from raybench.deploy.strategies import STRATEGIES, Deployment, LoadCosts, Strategy, all_traits, deploy
from raybench.machine.device import CpuDevice
from raybench.model import adapters
from raybench.model import weights as model_weights
from raybench.model.adapters import peft_name
from raybench.model.prepare import Recipe, prepared
from raybench.model.weights import ModelSpec, Weights, resolve_model
from raybench.model.workload import GlueLengths, draw_token_ids, glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.plan import Configuration, Plan
from raybench.records import StrategyTraits

NAMES = {
    "full_ft": "fullft_mrpc_seed42",
    "lora_merged": "lora_merged_mrpc_seed42",
    "lora_separate": "lora_mrpc_seed42",
    "multi_lora": "multi_lora_2_adapters",
}


class Steps:
    """A clock that moves by one at each reading."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1
        return self.now


@pytest.fixture
def plan(load_plan: Callable[..., Plan]) -> Plan:
    return load_plan()


@pytest.fixture(params=["prepared", "preset_device"])
def weights(request: pytest.FixtureRequest, plan: Plan) -> Weights:
    spec = ModelSpec("micro", "preset_device")
    if request.param == "prepared":
        spec = prepared(resolve_model("micro"), Recipe.of("micro", plan))
    return Weights(spec, CpuDevice())


def named(plan: Plan, chosen: str, **changes: Any) -> Configuration:
    return dataclasses.replace(next(c for c in plan.configurations if c.name == chosen), **changes)


def up(plan: Plan, weights: Weights, strategy: str, **changes: Any) -> Deployment:
    return deploy(named(plan, NAMES.get(strategy, strategy), **changes), weights, LoadCosts(weights.device))


def inputs(task: str) -> list[dict[str, torch.Tensor]]:
    requests = [GlueLengths(0).request(task, i) for i in range(3)]
    ids = [torch.tensor([draw_token_ids(request, 1024)]) for request in requests]
    return [{"input_ids": i, "attention_mask": torch.ones_like(i)} for i in ids]


def logits(deployment: Deployment, task: str) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([deployment.forward(**values).logits.float() for values in inputs(task)])


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def lora_layers(model: Any) -> list[Any]:
    return [module for module in model.modules() if hasattr(module, "lora_A")]


def test_these_are_the_strategies_and_what_they_take() -> None:
    assert {name: (t.min_adapters, t.max_adapters) for name, t in all_traits().items()} == {
        "base_beside_lora": (1, 4096),
        "delay": (0, 0),
        "full_ft": (0, 0),
        "lora_merged": (1, 1),
        "lora_separate": (1, 1),
        "multi_lora": (1, 4096),
    }
    assert all(name == t.name for name, t in all_traits().items())
    assert len({t.label for t in all_traits().values()}) == 6


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("strategy", NAMES)
def test_every_strategy_comes_up_and_answers(plan: Plan, weights: Weights, strategy: str, dtype: str) -> None:
    deployment = up(plan, weights, strategy, dtype=dtype)
    answer = logits(deployment, "mrpc")
    assert answer.shape == (3, 2)
    assert bool(answer.isfinite().all())
    assert not torch.equal(answer[0], answer[1])
    assert not any(module.training for module in deployment.model.modules())
    assert not any(isinstance(module, torch.nn.Dropout) for module in deployment.model.modules())
    assert (deployment.switch is not None) == (strategy == "multi_lora")


def test_only_what_keeps_its_adapters_apart_has_lora_layers(plan: Plan, weights: Weights) -> None:
    models = {strategy: up(plan, weights, strategy).model for strategy in NAMES}
    assert {strategy: len(lora_layers(model)) for strategy, model in models.items()} == {
        "full_ft": 0,
        "lora_merged": 0,
        "lora_separate": 16,
        "multi_lora": 16,
    }
    assert {strategy for strategy, m in models.items() if isinstance(m, peft.PeftModel)} == {
        "lora_separate",
        "multi_lora",
    }
    assert all(set(layer.lora_A) == {peft_name("mrpc_seed42")} for layer in lora_layers(models["lora_separate"]))
    both = {peft_name("mrpc_seed42"), peft_name("sst2_seed42")}
    assert all(set(layer.lora_A) == both for layer in lora_layers(models["multi_lora"]))
    assert not any(layer.merged for layer in lora_layers(models["lora_separate"]))


def test_merged_gives_the_logits_of_separate_and_neither_those_of_the_base(plan: Plan, weights: Weights) -> None:
    for task in ("mrpc", "sst2"):
        separate = logits(up(plan, weights, f"lora_{task}_seed42"), task)
        merged = logits(up(plan, weights, f"lora_merged_{task}_seed42"), task)
        base = weights.base(plan.configurations[0])
        assert difference(merged, separate) < 1e-5
        assert difference(logits(Deployment(base, base), task), separate) > 0.05


def test_a_resident_adapter_gives_what_it_gives_alone_whatever_was_active_before(plan: Plan, weights: Weights) -> None:
    multi = up(plan, weights, "multi_lora")
    assert multi.switch is not None
    alone = {task: up(plan, weights, f"lora_{task}_seed42") for task in ("mrpc", "sst2")}
    for task in ("mrpc", "sst2", "sst2", "mrpc"):
        multi.switch_to(f"{task}_seed42")
        other = {"mrpc": "sst2", "sst2": "mrpc"}[task]
        for text in ("mrpc", "sst2"):
            found = logits(multi, text)
            assert difference(found, logits(alone[task], text)) < 1e-6
            assert difference(found, logits(alone[other], text)) > 0.05


def test_switching_to_an_adapter_that_is_not_resident_fails(plan: Plan, weights: Weights) -> None:
    multi = up(plan, weights, "multi_lora")
    assert multi.switch is not None
    with pytest.raises(KeyError, match="rte_seed42"):
        multi.switch_to("rte_seed42")


@pytest.mark.parametrize("routing", ["round_robin", "blocked"])
def test_the_adapter_answers_the_same_however_requests_are_routed(plan: Plan, routing: str) -> None:
    """The order of adapters changes when they are switched, never what they say."""
    weights = Weights(ModelSpec("micro", "preset_device"), CpuDevice())
    configuration = named(plan, "multi_lora_2_adapters", routing=routing)
    deployment = deploy(configuration, weights, LoadCosts(weights.device))
    assert deployment.switch is not None
    answers: dict[str, list[torch.Tensor]] = {"mrpc": [], "sst2": []}
    adapters = {a.task: a.name for a in configuration.adapters}
    for task, _ in configuration.requests(0, 6):
        deployment.switch_to(adapters[task])
        answers[task].append(logits(deployment, task))
    assert [len(found) for found in answers.values()] == [3, 3]
    assert all(torch.equal(found[0], again) for found in answers.values() for again in found[1:])


def test_all_modules_are_walked_through_once_however_many_adapters_there_are(
    plan: Plan, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEFT's own loading grows with the adapters that are there; raybench's part of it does not."""
    walked: list[int] = []

    def counted(model: Any) -> None:
        walked.append(len(model.peft_config))
        adapters.drop_dropout(model)

    monkeypatch.setattr(model_weights, "drop_dropout", counted)
    model = up(plan, weights, "multi_lora").model
    assert walked == [2]
    assert model.active_adapters == ["mrpc_seed42"]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("full_ft", (1, None, None)),
        ("lora_separate", (1, 1, None)),
        ("lora_merged", (1, 1, 1)),
        ("multi_lora", (1, 1, None)),
    ],
)
def test_each_step_that_a_strategy_takes_is_timed_once_and_no_other(
    plan: Plan, strategy: str, expected: tuple[int | None, ...]
) -> None:
    device = CpuDevice(clock=Steps())
    costs = LoadCosts(device)
    deploy(named(plan, NAMES[strategy]), Weights(ModelSpec("micro", "preset_device"), device), costs)
    # The clock moves by one at each reading, so a step read at its two ends took one.
    assert (costs.load_ns, costs.adapter_load_ns, costs.merge_ns) == expected


def test_a_step_is_timed_until_the_device_has_finished() -> None:
    clock = Steps()

    class Slow(CpuDevice):
        def synchronize(self) -> None:
            clock.now += 100

    costs = LoadCosts(Slow(clock=clock))
    with costs.time("merge"):
        clock.now += 10
    assert (costs.load_ns, costs.adapter_load_ns, costs.merge_ns) == (0, None, 111)


def test_a_strategy_is_added_by_one_class(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(strategies, "STRATEGIES", dict(STRATEGIES))

    @strategies.strategy
    class Base(Strategy):
        traits = StrategyTraits("base_only", "Base", 0, 0)

        def load(self, configuration: Configuration, weights: Weights, costs: LoadCosts) -> Deployment:
            model = weights.base(configuration)
            return Deployment(model, model)

    path = tmp_path / "p.toml"
    path.write_text('name = "p"\n[[configurations]]\nname = "b"\nstrategy = "base_only"\nseed = 1\ntask = "mrpc"\n')
    plan, _ = plan_file.load_plan(str(path), all_traits(), glue_tasks())
    weights = Weights(ModelSpec("micro", "preset_device"), CpuDevice())
    deployment = deploy(plan.configurations[0], weights, LoadCosts(weights.device))
    assert logits(deployment, "mrpc").shape == (3, 2)
    assert "base_only" not in STRATEGIES
