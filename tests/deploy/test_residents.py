"""Many adapters on one base: loaded one at a time into the stack, and one more that comes and goes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from model.small_checkpoints import logits
from raybench.deploy import strategies
from raybench.deploy.gate import TOLERANCE
from raybench.deploy.parameters import parameter_bytes
from raybench.deploy.strategies import Deployment, LoadCosts, deploy
from raybench.machine.device import CpuDevice
from raybench.model.prepare import Recipe, prepared
from raybench.model.weights import Weights, resolve_model
from raybench.plan import file as plan_file
from raybench.plan.plan import Configuration

PLAN = """
name = "many"
workload = {prompt_tokens = 9}

[[adapters]]
name = "a{number}"
tasks = ["t"]
seeds = [1]
alpha = 8
count = 6

[[adapters]]
name = "wide"
tasks = ["t"]
seeds = [1]
alpha = 8
r = 16

[[configurations]]
name = "peft"
strategy = "multi_lora"
seed = 1
adapters = ["a{number}", "wide"]

[[configurations]]
name = "stacked"
strategy = "multi_lora"
form = "stacked"
seed = 1
adapters = ["a{number}", "wide"]

[[configurations]]
name = "one"
strategy = "multi_lora"
form = "stacked"
seed = 1
adapters = ["a1"]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Weights, dict[str, Configuration]]:
    path = tmp_path_factory.mktemp("plan") / "plan.toml"
    path.write_text(PLAN)
    plan, _ = plan_file.load_plan(str(path), strategies.all_traits(), ())
    weights = Weights(prepared(resolve_model("micro"), Recipe.of("micro", plan)), CpuDevice())
    return weights, {c.name: c for c in plan.configurations}


@pytest.fixture(autouse=True)
def _inference() -> Any:
    with torch.inference_mode():
        yield


def up(made: Any, name: str) -> tuple[Deployment, LoadCosts, dict[str, torch.Tensor]]:
    """What comes up, what it cost, and the logits of each adapter."""
    weights, configurations = made
    costs = LoadCosts(weights.device)
    with torch.inference_mode(False):
        deployment = deploy(configurations[name], weights, costs)
    return deployment, costs, answers(deployment, configurations[name])


def answers(deployment: Deployment, configuration: Configuration) -> dict[str, torch.Tensor]:
    assert deployment.switch is not None
    found = {}
    for adapter in configuration.adapters:
        deployment.switch(adapter.name)
        found[adapter.name] = logits(deployment.model)
    return found


def test_a_stack_has_the_adapters_that_peft_has_and_costs_what_they_cost(made: Any) -> None:
    peft, _, expected = up(made, "peft")
    _, costs, found = up(made, "stacked")
    assert list(found) == [*(f"a{number}" for number in range(1, 7)), "wide"]
    for name, logits_ in found.items():
        assert float((logits_ - expected[name]).norm() / expected[name].norm()) < TOLERANCE["float32"]
        assert all(not torch.equal(logits_, other) for also, other in found.items() if also != name)
    assert costs.adapter_bytes == parameter_bytes(peft.model)[0]
    assert None not in (costs.load_ns, costs.adapter_load_ns, costs.form_ns)


@pytest.mark.parametrize("name", ["peft", "stacked", "one"])
def test_one_more_comes_and_goes_and_the_others_are_as_they_were(made: Any, name: str) -> None:
    deployment, _, expected = up(made, name)
    assert deployment.add is not None
    assert deployment.remove is not None
    for _ in range(3):
        with torch.inference_mode(False):
            deployment.add()
            deployment.remove()
    found = answers(deployment, made[1][name])
    assert all(torch.equal(found[adapter], logits_) for adapter, logits_ in expected.items())


def test_adapters_that_serve_a_task_each_are_loaded_beside_each_other(load_plan: Any) -> None:
    plan = load_plan()
    weights = Weights(prepared(resolve_model("micro"), Recipe.of("micro", plan)), CpuDevice())
    (multi,) = (c for c in plan.configurations if c.strategy == "multi_lora")
    deployment = deploy(multi, weights, LoadCosts(weights.device))
    assert deployment.add is deployment.remove is None
