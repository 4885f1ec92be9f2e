"""Adapters with any name, any number of labels, with and without a head: they are deployed and pass the gate."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForSequenceClassification

from model.small_checkpoints import adapter_at, deploying, llama_config, logits, save_adapter, save_model, token_ids
from raybench.deploy.gate import Gate
from raybench.deploy.strategies import Deployment, LoadCosts, deploy
from raybench.machine.device import CpuDevice
from raybench.model.adapters import peft_name
from raybench.model.prepare import Recipe, write_preset
from raybench.model.problems import check_files
from raybench.model.prompts import Prompts
from raybench.model.weights import ModelSpec, Weights, resolve_model
from raybench.plan.plan import Adapter, Configuration, Plan, make_blocks

# Attributes of torch's containers and modules, parts of the model's and of PEFT's names, and a dot.
NAMES = [
    "keys",
    "training",
    "forward",
    "values",
    "pop",
    "T_destination",
    "v1.2",
    "a.b.c",
    "score",
    "classifier",
    "weight",
    "model",
    "lora_A",
    "layers",
    "default",
    "0",
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(LlamaForSequenceClassification, llama_config(), tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def paths(base: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        "head": save_adapter(base, folder / "head"),
        "other": save_adapter(base, folder / "other", seed=1),
        "none": save_adapter(base, folder / "none", seed=2, task_type=None),
    }


def up(configuration: Configuration, base: str) -> Deployment:
    """Brought up and through the gate."""
    weights = Weights(resolve_model(base), CpuDevice())
    inputs = {"input_ids": token_ids(), "attention_mask": torch.ones_like(token_ids())}
    probes = {task: [Prompts(inputs, (task,), 0)] for task in configuration.tasks}
    with torch.inference_mode():
        deployment = deploy(configuration, weights, LoadCosts(weights.device))
        Gate(weights, probes, {}).check(configuration, deployment)
    return deployment


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_one_for_an_adapter(name: str, base: str, paths: dict[str, str]) -> None:
    plain = logits(up(deploying(adapter_at(paths["head"], "plain")), base).model)
    first, second = adapter_at(paths["head"], name), adapter_at(paths["other"], "b", task="sst2")
    for strategy in ("lora_separate", "lora_merged"):
        assert torch.allclose(logits(up(deploying(first, strategy=strategy), base).model), plain, atol=1e-5)
    both = up(deploying(first, second, strategy="multi_lora"), base)
    assert both.switch is not None
    both.switch_to("b")
    both.switch_to(name)
    assert torch.allclose(logits(both.model), plain, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_one_for_a_seeded_adapter(name: str, base: str) -> None:
    up(deploying(adapter_at(None, name), adapter_at(None, "b", task="sst2"), strategy="multi_lora"), base)


def test_names_that_peft_takes_are_its_names_too_and_others_stay_apart() -> None:
    assert peft_name("mrpc_seed42") == "mrpc_seed42"
    names = {peft_name(name) for name in ("keys", "a.b", "a.c", "values")}
    assert len(names) == 4
    assert not any(hasattr(torch.nn.ModuleDict(), name) or "." in name for name in names)


def test_prepared_adapters_have_any_name(tmp_path: Path) -> None:
    adapters = tuple(Adapter(name, "mrpc", 0, 4, 8.0, ("q_proj",)) for name in ("default", "v1.2", "keys"))
    assert write_preset(Recipe("micro", adapters, ()), tmp_path / "made")
    for adapter in adapters:
        names = sorted(file.name for file in (tmp_path / "made" / "adapters" / adapter.name).iterdir())
        assert {"adapter_config.json", "adapter_model.safetensors"} <= set(names)
        up(deploying(adapter), str(tmp_path / "made"))


@pytest.mark.parametrize("order", [("head", "none"), ("none", "head"), ("head", "none", "other")])
def test_adapters_with_and_without_a_head_are_resident_together(
    base: str, paths: dict[str, str], order: tuple[str, ...]
) -> None:
    tasks = ("mrpc", "sst2", "rte")
    adapters = [adapter_at(paths[name], name, task=task) for name, task in zip(order, tasks, strict=False)]
    alone = {a.name: logits(up(deploying(a), base).model) for a in adapters}
    plan = one_plan(deploying(*adapters, strategy="multi_lora"))
    found = check_files(plan, resolve_model(base), None)
    assert found.problems == ()
    for configuration in (plan.configurations[0], found.plan.configurations[0]):
        both = up(configuration, base)
        assert both.switch is not None
        for name in (*order, *reversed(order)):
            both.switch_to(name)
            assert torch.allclose(logits(both.model), alone[name], atol=1e-5)


def one_plan(configuration: Configuration) -> Plan:
    values: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(Plan))
    numbers = {"rounds": 1, "requests": 1, "comparisons": (), "claims": (), "task_type": "SEQ_CLS"}
    blocks = make_blocks((configuration,), "paired")
    return Plan(**values | numbers | {"configurations": (configuration,), "blocks": blocks})


@pytest.mark.parametrize("strategy", ["lora_separate", "lora_merged"])
def test_an_adapter_of_three_labels_is_measured_on_a_base_of_two(base: str, tmp_path: Path, strategy: str) -> None:
    three = save_model(LlamaForSequenceClassification, llama_config(num_labels=3), tmp_path / "three")
    path = save_adapter(three, tmp_path / "adapter")
    plan = one_plan(deploying(adapter_at(path), strategy=strategy))
    (configuration,) = check_files(plan, resolve_model(base), None).plan.configurations
    assert configuration.num_labels == 3
    found = logits(up(configuration, base).model)
    assert found.shape == (1, 3)
    # The encoders of the two bases are the same weights: the head alone was drawn, and is the adapter's.
    expected = logits(up(deploying(adapter_at(path)), three).model)
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_fine_tune_without_weights_of_its_own_has_the_labels_of_its_peers(base: str) -> None:
    full = Configuration("full", "full_ft", 0, ("mrpc",), num_labels=3)
    assert logits(up(full, base).model).shape == (1, 3)
    preset = Weights(ModelSpec("micro", "preset_device"), CpuDevice())
    for model in (preset.base(full), preset.fine_tuned(full)):
        assert logits(model).shape == (1, 3)
