"""One adapter after the other in a slot: each as PEFT loads it by itself, or refused by its own name."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM, LlamaForSequenceClassification

from model.small_checkpoints import adapter_at, deploying, llama_config, save_adapter, save_model
from raybench.machine.device import CpuDevice
from raybench.model.adapter_slot import AdapterSlot
from raybench.model.weights import ModelSpec, Weights
from raybench.plan.plan import Adapter, Configuration
from raybench.records import InputError


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(LlamaForSequenceClassification, llama_config(num_labels=3), tmp_path_factory.mktemp("base"))


def slot_on(base: str, *adapters: Adapter, **changes: Any) -> tuple[AdapterSlot, Weights, Configuration]:
    task_type = changes.pop("task_type", "SEQ_CLS")
    weights = Weights(ModelSpec("small", "checkpoint", base, task_type), CpuDevice())
    configuration = deploying(*adapters, strategy="multi_lora", **changes)
    return AdapterSlot(weights, configuration), weights, configuration


def tensors(model: Any, name: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = peft.get_peft_model_state_dict(
        model, adapter_name=name, save_embedding_layers=False
    )
    return found


def same(slot: AdapterSlot, weights: Weights, configuration: Configuration, adapter: Adapter) -> Any:
    """The slot's model of ``adapter``, which is what is loaded onto a base by itself."""
    alone = weights.attach(weights.base(configuration), adapter, configuration)
    loaded = slot.load(adapter)
    expected, found = tensors(alone, adapter.name), tensors(loaded, slot.name)
    assert len(found) == len(expected) > 4
    assert all(torch.equal(found[key], value) and found[key].dtype == value.dtype for key, value in expected.items())
    return loaded


@pytest.mark.parametrize("adapter_dtype", ["float32", "same"])
def test_each_is_what_is_loaded_by_itself(base: str, tmp_path: Path, adapter_dtype: str) -> None:
    paths = [save_adapter(base, tmp_path / str(seed), seed=seed) for seed in range(3)]
    paths.append(save_adapter(base, tmp_path / "wide", seed=3, r=6))
    adapters = [adapter_at(path, f"a{i}", r=None) for i, path in enumerate(paths)]
    slot, weights, configuration = slot_on(base, *adapters, dtype="bfloat16", adapter_dtype=adapter_dtype)
    first, second, third, wide = (same(slot, weights, configuration, adapter) for adapter in adapters)
    assert first is second is third  # of one shape, in one model
    assert wide is not first
    assert same(slot, weights, configuration, adapters[0]) is not first
    assert {parameter.device.type for name, parameter in wide.named_parameters() if ".lora_" not in name} >= {"meta"}


def test_a_language_models_too(tmp_path: Path) -> None:
    base = save_model(LlamaForCausalLM, llama_config(), tmp_path / "base")
    paths = [save_adapter(base, tmp_path / str(seed), AutoModelForCausalLM, seed=seed) for seed in range(2)]
    adapters = [adapter_at(path, f"a{i}") for i, path in enumerate(paths)]
    slot, weights, configuration = slot_on(base, *adapters, task_type="CAUSAL_LM")
    assert same(slot, weights, configuration, adapters[0]) is same(slot, weights, configuration, adapters[1])


def test_those_that_are_drawn(base: str) -> None:
    adapters = [Adapter(f"a{i}", "mrpc", 1, 4, 8, ("q_proj", "v_proj")) for i in range(2)]
    adapters.append(Adapter("wide", "mrpc", 1, 6, 8, ("q_proj",)))
    slot, weights, configuration = slot_on(base, *adapters)
    assert same(slot, weights, configuration, adapters[0]) is same(slot, weights, configuration, adapters[1])
    same(slot, weights, configuration, adapters[2])
    same(slot, weights, configuration, adapters[0])


def test_those_that_are_drawn_hold_no_base(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    adapters = [Adapter(f"a{i}", "mrpc", 1, 4, 8, ("q_proj", "v_proj")) for i in range(2)]
    slot, weights, _ = slot_on(base, *adapters)
    read: list[dict[str, weakref.ref[Any]]] = []
    made = weights.base

    def counted(of: Configuration) -> Any:
        model = made(of)
        read.append({name: weakref.ref(parameter) for name, parameter in model.named_parameters()})
        return model

    monkeypatch.setattr(weights, "base", counted)
    for adapter in adapters:
        loaded = slot.load(adapter)
    gc.collect()
    (parameters,) = read  # once for both
    assert len(parameters) > 10
    assert [name for name, parameter in parameters.items() if parameter() is not None] == ["score.weight"]
    whole = [name for name, parameter in loaded.named_parameters() if not parameter.is_meta]
    assert all(".lora_" in name or ".score." in name for name in whole)


def test_what_cannot_be_loaded_is_told_by_its_own_name(base: str, tmp_path: Path) -> None:
    good = save_adapter(base, tmp_path / "good")
    shutil.copytree(good, tmp_path / "bad")
    file = tmp_path / "bad" / "adapter_model.safetensors"
    stored = load_file(file)
    stored.pop(next(key for key in stored if "lora_A" in key))
    save_file(stored, file, {"format": "pt"})
    adapters = [adapter_at(good, "good"), adapter_at(str(tmp_path / "bad"), "bad")]
    slot, _, _ = slot_on(base, *adapters)
    slot.load(adapters[0])
    with pytest.raises(InputError, match=r"adapter bad in .* 1 that the model needs are not in its file"):
        slot.load(adapters[1])
    with pytest.raises(InputError, match=r"adapter other in .* the plan says r=5"):
        slot.load(adapter_at(good, "other", r=5))
    slot.load(adapters[0])


def test_one_that_brings_weights_of_the_base_is_refused(base: str, tmp_path: Path) -> None:
    path = save_adapter(base, tmp_path / "a", target_modules=["q_proj", "embed_tokens"], save_embedding_layers="auto")
    adapter = adapter_at(path, "a", target_modules=None)
    slot, _, _ = slot_on(base, adapter)
    with pytest.raises(InputError, match=r"adapter a in .* brings .*embed_tokens.* of the base itself, which is not"):
        slot.load(adapter)
