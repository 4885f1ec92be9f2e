"""Many adapters on one base: loaded one at a time into the stack, and one more that comes and goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from deploy.shapes import difference, read_from, renamed, save_adapter_of, save_shape, weights_of
from model.small_checkpoints import logits
from raybench.deploy import strategies
from raybench.deploy.gate import TOLERANCE
from raybench.deploy.parameters import parameter_bytes
from raybench.deploy.strategies import Deployment, LoadCosts, deploy
from raybench.machine.device import CpuDevice
from raybench.model.adapter_slot import adapter_shape
from raybench.model.prepare import Recipe, prepared
from raybench.model.weights import Weights, resolve_model
from raybench.plan import file as plan_file
from raybench.plan.plan import Adapter, Configuration

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


OF_FILES: dict[str, dict[str, Any]] = {
    "plain": {},
    "head": {"modules_to_save": ["lm_head"]},
    "ranks": {"rank_pattern": {"v_proj": 6}},
    "alphas": {"alpha_pattern": {"v_proj": 3}},
    "layer": {"layers_to_transform": [1], "target_modules": ["q_proj", "v_proj", "o_proj"]},
    "but one": {"exclude_modules": ["model.layers.0.self_attn.v_proj"]},
    "head too": {"modules_to_save": ["lm_head"], "lora_alpha": 3},
    "plain too": {},
}


@pytest.mark.parametrize(
    "names",
    [["plain", "head"], ["head", "plain", "head too"], ["but one", "alphas", "ranks"], [*OF_FILES]],
    ids=lambda names: f"{len(names)}-{names[0]}",
)
def test_adapters_of_files_come_together_whatever_each_has(names: list[str], tmp_path: Path) -> None:
    base = save_shape("llama-lm", tmp_path / "base")
    adapters = [
        Adapter(name, "t", 0, None, None, None, save_adapter_of("llama-lm", base, tmp_path / name, i, **OF_FILES[name]))
        for i, name in enumerate(names)
    ]
    configuration = Configuration("many", "multi_lora", 0, ("t",), tuple(adapters))
    found, costs = {}, {}
    for form in (None, "stacked"):
        weights = weights_of(base, "llama-lm")
        costs[form] = LoadCosts(weights.device)
        with torch.inference_mode(False):
            deployment = deploy(renamed(configuration, form=form), weights, costs[form])
            if form is None:
                adapter_bytes = parameter_bytes(deployment.model)[0]
            deployment.add()
            deployment.remove()
        found[form] = answers(deployment, configuration)
    for name in names:
        assert difference(found["stacked"][name], found[None][name]) < TOLERANCE["float32"]
    assert costs["stacked"].adapter_bytes == adapter_bytes


def test_what_only_scales_is_no_shape_of_its_own(tmp_path: Path) -> None:
    base = save_shape("llama-lm", tmp_path / "base")
    weights = weights_of(base, "llama-lm")
    shapes = {
        name: adapter_shape(weights, read_from(save_adapter_of("llama-lm", base, tmp_path / name, **changes), name))
        for name, changes in OF_FILES.items()
    }
    assert shapes["plain"] == shapes["plain too"] == shapes["alphas"]
    assert shapes["head"] == shapes["head too"]
    assert len(set(shapes.values())) == 5
