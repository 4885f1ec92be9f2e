"""Quantized bases: adapters beside them, and merged as they are served, which the gate proves and sets beside them."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertModel

from deploy.shapes import answers, difference, read_from, rows, save_adapter_of, save_shape, task_type, up, weights_of
from model.small_checkpoints import adapter_at, bert_config, deploying, save_model
from model.test_problems import plan_of
from raybench.deploy.gate import Gate, GateError, GateResult
from raybench.deploy.strategies import STRATEGIES, Deployment, all_traits
from raybench.model.problems import check_files
from raybench.model.prompts import Prompts
from raybench.model.quantization import PACKAGES, check_quantized, is_packed, stored_bytes
from raybench.model.weights import ModelSpec, resolve_model
from raybench.plan.plan import Configuration, Peers
from raybench.records import InputError
from raybench.sweep.describe import deployment as label_of

Q = {"target_modules": ["q_proj", "v_proj"]}
WAYS = [
    pytest.param(
        way,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(package) is None,
            reason=f"{package} is not installed (pip install -e '.[quantization]')",
        ),
    )
    for way, package in PACKAGES.items()
]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[str, Any, Any]]:
    """Of a shape the base and two adapters."""
    made: dict[str, tuple[str, Any, Any]] = {}

    def of(shape: str) -> tuple[str, Any, Any]:
        if shape not in made:
            folder = tmp_path_factory.mktemp(shape)
            base = save_shape(shape, folder / "base")
            paths = [save_adapter_of(shape, base, folder / name, seed, **Q) for seed, name in enumerate("ab")]
            made[shape] = (base, *(read_from(path, name) for path, name in zip(paths, "ab", strict=True)))
        return made[shape]

    return of


def gated(configuration: Configuration, deployment: Deployment, base: str, shape: str) -> GateResult:
    probes = {a.task: [Prompts(rows(), (a.task,) * 4, 0)] for a in configuration.adapters}
    if task_type(shape) == "CAUSAL_LM":
        mask = torch.ones(4, 12 + 3, dtype=torch.int64)
        values = rows() | {"attention_mask": mask, "position_ids": mask.cumsum(-1) - 1}
        probes = {task: [Prompts(values, (task,) * 4, 3)] for task in probes}
    with torch.inference_mode():
        return Gate(weights_of(base, shape), probes, {}).check(configuration, deployment)


@pytest.mark.parametrize("shape", ["llama-wide", "llama-wide-lm"])
@pytest.mark.parametrize("way", WAYS)
def test_adapters_beside_a_quantized_base_are_as_each_alone(make: Any, way: str, shape: str) -> None:
    base, first, second = make(shape)
    configuration = deploying(first, second, strategy="multi_lora", quantization=way)
    deployment = up(configuration, base, shape)
    packed = {n: p for n, p in deployment.model.named_parameters() if is_packed(p)}
    assert len(packed) == 14  # 7 linear layers in each of two; no head
    assert all(".layers." in name and name.endswith(".weight") for name in packed)
    assert sum(map(stored_bytes, packed.values())) < 0.3 * 2 * (4 * 64 * 64 + 3 * 64 * 128) * 4
    result = gated(configuration, deployment, base, shape)
    assert (result.error, result.agreement) == (0, 1)
    plain = answers(up(deploying(first), base, shape))
    assert deployment.switch is not None
    deployment.switch("a")
    assert 1e-4 < difference(answers(deployment), plain) < 0.5


@pytest.mark.parametrize("way", WAYS)
def test_rows_of_a_mixed_batch_are_exact_where_they_can_be(make: Any, way: str) -> None:
    base, first, second = make("llama-wide-lm")
    configuration = deploying(first, second, strategy="multi_lora", quantization=way, routing="mixed", batch=4)
    deployment = up(configuration, base, "llama-wide-lm")
    alone = answers(up(deploying(first, quantization=way), base, "llama-wide-lm"))
    assert deployment.mixed is not None
    with deployment.mixed(["a", "b", "b", "a"]):
        found = answers(deployment)
    off = difference(found[[0, 3]], alone[[0, 3]])
    assert off < (0.05 if way == "bnb-int8" else 1e-6)
    assert STRATEGIES["multi_lora"].is_exact(configuration) == (way != "bnb-int8")


@pytest.mark.parametrize("shape", ["llama-wide", "llama-wide-lm"])
@pytest.mark.parametrize("way", WAYS)
def test_a_merged_one_is_unquantized_and_the_gate_tells_by_how_much_it_differs(make: Any, way: str, shape: str) -> None:
    base, adapter, _ = make(shape)
    configuration = deploying(adapter, strategy="lora_merged", quantization=way)
    deployment = up(configuration, base, shape)
    assert not any(is_packed(parameter) for parameter in deployment.model.parameters())
    assert difference(answers(deployment), answers(up(deploying(adapter), base, shape))) < 1e-5
    result = gated(configuration, deployment, base, shape)
    assert (result.error is not None, result.tolerance) == (True, None)
    assert result.error is not None
    assert result.error > 1e-4
    assert result.agreement is not None
    assert result.divergence is not None
    assert result.divergence > 0


@pytest.mark.parametrize("way", WAYS)
def test_a_merge_that_is_wrong_is_stopped_also_where_the_base_is_quantized(make: Any, way: str) -> None:
    base, adapter, other = make("llama-wide")
    wrong = up(deploying(other, strategy="lora_merged", quantization=way), base, "llama-wide")
    with pytest.raises(GateError, match=r"chosen: logits differ from adapter a alone by .* tolerance 0\.0001"):
        gated(deploying(adapter, strategy="lora_merged", quantization=way), wrong, base, "llama-wide")


@pytest.mark.parametrize(("shape", "targets"), [("bert-wide", ["query"]), ("roberta-wide", ["query", "dense"])])
@pytest.mark.parametrize("way", WAYS)
def test_heads_are_not_quantized_and_are_the_adapters_own(
    way: str, shape: str, targets: list[str], tmp_path: Path
) -> None:
    base = save_shape(shape, tmp_path / "base")
    path = save_adapter_of(shape, base, tmp_path / "adapter", target_modules=targets)
    adapter = read_from(path, "a")
    separate = up(deploying(adapter, quantization=way), base, shape)
    packed = [name for name, parameter in separate.model.named_parameters() if is_packed(parameter)]
    assert packed
    assert not any("pooler" in name or "classifier" in name for name in packed)
    assert 1e-4 < difference(answers(separate), answers(up(deploying(adapter), base, shape))) < 0.5


@pytest.mark.parametrize("way", WAYS)
def test_what_a_base_lacks_is_drawn_as_without_quantization(way: str, tmp_path: Path) -> None:
    base = save_model(BertModel, bert_config(hidden_size=64), tmp_path / "base", add_pooling_layer=False)
    plain, packed = (weights_of(base, "bert").base(deploying(quantization=q)) for q in (None, way))
    for name in ("bert.pooler.dense.weight", "classifier.weight"):
        assert torch.equal(plain.get_parameter(name), packed.get_parameter(name))


@pytest.mark.parametrize("way", [way for way in WAYS if way.values[0].startswith("bnb")])
def test_what_would_be_drawn_into_a_quantized_layer_is_refused(way: str, make: Any) -> None:
    base, _, _ = make("llama-wide")
    model = weights_of(base, "llama-wide").base(deploying(quantization=way))
    name = "model.layers.0.self_attn.q_proj.weight"
    with pytest.raises(InputError) as caught:
        check_quantized(model, [name, "score.weight"], base, way)
    assert str(caught.value) == (
        f"{base}: the weights have no {name}, which would be drawn, and cannot be in quantized layers; measure it "
        "without quantization"
    )


@pytest.mark.parametrize("way", [way for way in WAYS if way.values[0].startswith("bnb")])
def test_convolutions_that_are_linear_layers_are_quantized(way: str, tmp_path: Path) -> None:
    shape = "gpt2-wide-lm"
    base = save_shape(shape, tmp_path / "base")
    adapter = read_from(save_adapter_of(shape, base, tmp_path / "adapter", target_modules=["c_attn"]), "a")
    plain, packed = (answers(up(deploying(adapter, quantization=q), base, shape)) for q in (None, way))
    assert 1e-4 < difference(packed, plain) < 0.5


@pytest.mark.parametrize("way", [way for way in WAYS if way.values[0].startswith("torchao")])
def test_a_base_without_a_layer_that_is_quantized_is_refused(way: str, tmp_path: Path) -> None:
    base = save_shape("gpt2-lm", tmp_path)
    with pytest.raises(InputError, match=f"quantization {way} finds no linear layer in it"):
        weights_of(base, "gpt2-lm").base(deploying(quantization=way))


# What is told before anything is started


def problems(configuration: Configuration, model: ModelSpec) -> tuple[str, ...]:
    return check_files(plan_of(configuration), model, None).problems


@pytest.mark.parametrize(("way", "package"), PACKAGES.items())
def test_a_package_that_is_not_installed_is_named(
    make: Any, way: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, adapter, _ = make("llama-wide")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert problems(deploying(adapter, quantization=way), resolve_model(base)) == (
        f"quantization {way} takes the package {package}, which is not installed: install raybench[quantization]",
    )


def test_what_has_no_files_cannot_be_quantized(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    seeded = deploying(adapter_at(None, "drawn"), quantization="bnb-nf4")
    assert problems(seeded, ModelSpec("micro", "preset_device")) == (
        "configuration chosen: quantization bnb-nf4 takes a model that has files: this one is filled on the device; "
        "name a checkpoint",
    )
    assert problems(seeded, resolve_model(make("llama-wide")[0])) == (
        "configuration chosen: quantization bnb-nf4 takes adapters that have files: drawn is drawn by the size of the "
        "weights that it changes; give it a path",
    )
    assert problems(seeded, ModelSpec("micro", "preset_files")) == ()


def test_a_base_that_is_quantized_in_its_files_is_noticed(tmp_path: Path) -> None:
    base = save_shape("llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert problems(Configuration("full", "full_ft", 0, ("a",)), resolve_model(base)) == (
        f"the base: {base}: its weights are quantized in its files (bitsandbytes), into which nothing is merged and "
        'beside which nothing is compared: give the unquantized model, and quantization = "bnb-nf4" or the like in the '
        "plan",
    )


def test_only_what_is_quantized_alike_is_compared(make: Any) -> None:
    _, adapter, _ = make("llama-wide")
    plain, packed = deploying(adapter), deploying(adapter, quantization="bnb-nf4")
    merged = dataclasses.replace(packed, name="merged", strategy="lora_merged", role="lora_merged")
    assert Peers([plain, packed]).peer(merged, "lora_separate") is packed


def test_a_merged_ones_label_says_that_it_is_served_unquantized(make: Any) -> None:
    _, adapter, _ = make("llama-wide")
    labels = [
        label_of(deploying(adapter, strategy=strategy, quantization="bnb-nf4"), all_traits())
        for strategy in ("lora_separate", "lora_merged")
    ]
    assert labels == ["LoRA Separate (bnb-nf4)", "LoRA Merged (unquantized for bnb-nf4)"]
