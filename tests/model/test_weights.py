"""Where weights come from: prepared files, one's own checkpoints, or a shape filled on the device."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from raybench.machine.device import CpuDevice, torch_dtype
from raybench.model.adapters import peft_name
from raybench.model.prepare import Recipe, prepared
from raybench.model.shipped_shapes import preset_shape, presets
from raybench.model.weights import ModelSpec, Noticed, Weights, build, resolve_model
from raybench.plan.plan import Configuration, Plan
from raybench.records import InputError

ON_DEVICE = ModelSpec("micro", "preset_device")


@pytest.fixture
def plan(load_plan: Callable[..., Plan]) -> Plan:
    return load_plan()


@pytest.fixture
def folder(plan: Plan) -> Path:
    """The small plan's models as files. Read only: copy what is to be changed."""
    return Path(prepared(resolve_model("micro"), Recipe.of("micro", plan)).location or "")


@pytest.fixture
def weights(folder: Path) -> Weights:
    return Weights(resolve_model(str(folder)), CpuDevice())


def named(plan: Plan, chosen: str, **changes: Any) -> Configuration:
    return dataclasses.replace(next(c for c in plan.configurations if c.name == chosen), **changes)


def lora_layers(model: Any) -> list[Any]:
    return [module for module in model.modules() if hasattr(module, "lora_A")]


def same_weights(model: torch.nn.Module, file: Path) -> bool:
    stored = load_file(file)
    found = dict(model.named_parameters())
    return found.keys() == stored.keys() and all(torch.equal(found[name], stored[name]) for name in stored)


class Payload:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


# What a person names


@pytest.mark.parametrize(
    ("preset", "kind", "task_type"),
    [
        ("micro", "preset_files", "SEQ_CLS"),
        ("micro-lm", "preset_files", "CAUSAL_LM"),
        ("tinyllama-1.1b", "preset_device", "SEQ_CLS"),
        ("tinyllama-1.1b", "preset_device", "CAUSAL_LM"),
    ],
)
def test_a_preset_is_files_or_built_on_the_device_as_its_shape_says(preset: str, kind: Any, task_type: Any) -> None:
    expected = ModelSpec(preset, kind, task_type=task_type)
    assert resolve_model(preset, task_type) == expected
    if preset != "tinyllama-1.1b":
        assert resolve_model(preset, None) == expected


@pytest.mark.parametrize(
    ("preset", "task_type", "told"),
    [
        (
            "micro",
            "CAUSAL_LM",
            "it is made as a sequence classifier, the plan measures a causal language model (task_type CAUSAL_LM); "
            "take micro-lm or small-lm or tinyllama-1.1b, or a model of your own",
        ),
        (
            "micro-lm",
            "SEQ_CLS",
            "it is made as a causal language model, the plan measures a sequence classifier (task_type SEQ_CLS); take "
            "micro or tinyllama-1.1b, or a model of your own",
        ),
    ],
)
def test_a_preset_of_another_task_type_is_refused_with_those_that_suit(
    preset: str, task_type: Any, told: str, plan: Plan
) -> None:
    with pytest.raises(InputError) as caught:
        resolve_model(preset, task_type)
    assert str(caught.value) == f"--model {preset}: {told}"
    with pytest.raises(InputError) as caught:
        Recipe.of(preset, dataclasses.replace(plan, task_type=task_type))
    assert str(caught.value) == f"--model {preset}: {told}"


def test_a_prepared_folder_is_known_by_its_mark(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ModelSpec(folder.name, "prepared", str(folder.resolve()))
    assert resolve_model(str(folder)) == expected
    monkeypatch.chdir(folder)
    assert resolve_model(".") == expected
    monkeypatch.chdir(folder.parent)
    assert resolve_model(folder.name) == expected


def test_a_checkpoints_folder_and_a_hub_id_are_checkpoints(folder: Path) -> None:
    base = folder / "base"
    assert resolve_model(str(base)) == ModelSpec("base", "checkpoint", str(base.resolve()))
    assert resolve_model("owner/name-7b.v1") == ModelSpec("owner/name-7b.v1", "checkpoint", "owner/name-7b.v1")


def test_a_folder_named_like_a_preset_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "micro").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve_model("micro").kind == "preset_files"


def test_an_empty_name_is_no_folder() -> None:
    with pytest.raises(InputError, match=r"^--model '': no such preset"):
        resolve_model("")


@pytest.mark.parametrize("model", ["micr", "", "/nowhere", "./a/b", "../b", "a/b/c", "/a"])
def test_what_is_no_model_is_refused_with_what_could_be_meant(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # beside which no folder b lies by chance
    with pytest.raises(InputError) as caught:
        resolve_model(model or str(tmp_path))
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith("--model ")
    if model:
        assert all(
            part in str(caught.value)
            for part in (repr(model), "micro, micro-lm, small-lm, tinyllama-1.1b", "owner/name")
        )
    else:
        assert "no config.json" in str(caught.value)


# Files


def test_the_base_is_what_its_files_hold_ready_to_serve(weights: Weights, folder: Path, plan: Plan) -> None:
    model = weights.base(plan.configurations[0])
    assert same_weights(model, folder / "base" / "model.safetensors")
    assert not any(module.training for module in model.modules())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    config: Any = model.config
    assert (config.num_hidden_layers, config.hidden_size, config.num_labels) == (8, 64, 2)


def test_nothing_is_shared_between_two_loads(weights: Weights, plan: Plan) -> None:
    first, second = (weights.base(plan.configurations[0]) for _ in range(2))
    with torch.no_grad():
        next(first.parameters()).zero_()
    assert bool(next(second.parameters()).any())


def test_each_fully_fine_tuned_model_has_weights_of_its_own(weights: Weights, folder: Path, plan: Plan) -> None:
    names = ["fullft_mrpc_seed42", "fullft_sst2_seed42"]
    for name in names:
        model = weights.fine_tuned(named(plan, name))
        assert same_weights(model, folder / "full_ft" / name / "model.safetensors")
        assert not model.training
    files = [folder / "base", *(folder / "full_ft" / name for name in names)]
    heads = [load_file(file / "model.safetensors")["score.weight"] for file in files]
    assert not any(torch.equal(a, b) for a, b in ((heads[0], heads[1]), (heads[0], heads[2]), (heads[1], heads[2])))


def test_a_model_or_adapter_that_was_not_prepared_is_refused_with_the_remedy(weights: Weights, plan: Plan) -> None:
    other = named(plan, "fullft_mrpc_seed42", name="fullft_other")
    with pytest.raises(InputError, match="fullft_other: no such model; run `raybench prepare`"):
        weights.fine_tuned(other)
    lora = named(plan, "lora_mrpc_seed42")
    unknown = dataclasses.replace(lora.adapters[0], name="other")
    with pytest.raises(InputError, match="other: no such adapter; run `raybench prepare`"):
        weights.attach(weights.base(lora), unknown, lora)


def test_an_adapter_by_hub_id_is_asked_of_the_hub_and_not_of_the_prepared_folder(
    weights: Weights, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    lora = named(plan, "lora_mrpc_seed42")
    adapter = dataclasses.replace(lora.adapters[0], path="owner/adapter")
    with pytest.raises(ValueError, match=r"adapter_config\.json.*owner/adapter"):
        weights.attach(weights.base(lora), adapter, lora)


def test_a_configuration_may_bring_its_own_checkpoint_and_adapter(folder: Path, plan: Plan, tmp_path: Path) -> None:
    for kind in (resolve_model(str(folder)), resolve_model(str(folder / "base")), ON_DEVICE):
        weights = Weights(kind, CpuDevice())
        mine = folder / "full_ft" / "fullft_sst2_seed42"
        full = named(plan, "fullft_mrpc_seed42", checkpoint=str(mine))
        assert same_weights(weights.fine_tuned(full), mine / "model.safetensors")
        lora = named(plan, "lora_mrpc_seed42")
        adapter = dataclasses.replace(lora.adapters[0], path=str(folder / "adapters" / "sst2_seed42"))
        model = weights.attach(weights.base(lora), adapter, lora)
        stored = load_file(folder / "adapters" / "sst2_seed42" / "adapter_model.safetensors")
        found = lora_layers(model)[0].lora_B[peft_name("mrpc_seed42")].weight
        assert torch.equal(found, stored["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"])


def test_ones_own_base_serves_as_every_fine_tune_and_takes_seeded_adapters(folder: Path, plan: Plan) -> None:
    weights = Weights(resolve_model(str(folder / "base")), CpuDevice())
    lora = named(plan, "lora_mrpc_seed42")
    assert same_weights(weights.fine_tuned(named(plan, "fullft_mrpc_seed42")), folder / "base" / "model.safetensors")
    assert same_weights(weights.base(lora), folder / "base" / "model.safetensors")
    assert len(lora_layers(weights.attach(weights.base(lora), lora.adapters[0], lora))) == 16


def test_a_pickled_checkpoint_is_refused_unread(folder: Path, plan: Plan, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    shutil.copy(folder / "base" / "config.json", base)
    (base / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    weights = Weights(resolve_model(str(base)), CpuDevice())
    with pytest.raises(InputError, match=r"no \.safetensors weights; pickled checkpoints are not loaded"):
        weights.base(plan.configurations[0])
    with pytest.raises(InputError, match="pickled checkpoints are not loaded"):
        weights.fine_tuned(named(plan, "fullft_mrpc_seed42", checkpoint=str(base)))
    assert not (tmp_path / "ran").exists()


def test_a_pickled_adapter_is_refused_unread(weights: Weights, folder: Path, plan: Plan, tmp_path: Path) -> None:
    mine = tmp_path / "adapter"
    mine.mkdir()
    shutil.copy(folder / "adapters" / "mrpc_seed42" / "adapter_config.json", mine)
    (mine / "adapter_model.bin").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    lora = named(plan, "lora_mrpc_seed42")
    adapter = dataclasses.replace(lora.adapters[0], path=str(mine))
    with pytest.raises(InputError, match="only safetensors adapters are loaded"):
        weights.attach(weights.base(lora), adapter, lora)
    assert not (tmp_path / "ran").exists()


# An adapter that lies beside a model's weights


@pytest.fixture
def beside(folder: Path, tmp_path: Path) -> str:
    """A whole model whose folder also holds an adapter. transformers switches it on."""
    shutil.copytree(folder / "base", tmp_path / "beside")
    shutil.copytree(folder / "adapters" / "mrpc_seed42", tmp_path / "beside", dirs_exist_ok=True)
    return str(tmp_path / "beside")


def test_a_base_and_a_checkpoint_are_loaded_plain_though_an_adapter_lies_there(beside: str, plan: Plan) -> None:
    assert lora_layers(AutoModelForSequenceClassification.from_pretrained(beside))
    weights = Weights(resolve_model(beside), CpuDevice())
    full = named(plan, "fullft_mrpc_seed42")
    for load, configuration in (
        (weights.base, full),
        (weights.fine_tuned, full),
        (weights.fine_tuned, dataclasses.replace(full, checkpoint=beside)),
    ):
        assert same_weights(load(configuration), Path(beside, "model.safetensors"))
        assert weights.noticed() == Noticed(None, beside)
    assert weights.noticed() == Noticed(None, None)


@pytest.mark.parametrize("as_base", [True, False])
def test_a_model_by_hub_id_is_loaded_plain_though_an_adapter_lies_there(
    as_base: bool, beside: str, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers would load the base that the adapter names instead, with the adapter on."""
    hub = tmp_path / "hub"
    stored = hub / "models--owner--name"
    shutil.copytree(beside, stored / "snapshots" / ("0" * 40))
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    full = named(plan, "fullft_mrpc_seed42")
    if as_base:
        weights = Weights(resolve_model("owner/name"), CpuDevice())
        model = weights.base(full)
    else:
        weights = Weights(ON_DEVICE, CpuDevice())
        model = weights.fine_tuned(dataclasses.replace(full, checkpoint="owner/name"))
    assert same_weights(model, Path(beside, "model.safetensors"))
    assert weights.noticed() == Noticed(None, "owner/name")


def test_an_adapters_folder_is_no_model(folder: Path, plan: Plan) -> None:
    """transformers would load the base that it names, with it on."""
    path = str(folder / "adapters" / "mrpc_seed42")
    full = named(plan, "fullft_mrpc_seed42", checkpoint=path)
    with pytest.raises(InputError, match=r"mrpc_seed42: no config\.json; give the folder of a whole model, not an ad"):
        Weights(ON_DEVICE, CpuDevice()).fine_tuned(full)


def test_a_folder_that_would_switch_an_adapter_on_all_the_same_is_refused(beside: str, plan: Plan) -> None:
    hidden = Path(beside, "raybench-loads-no-adapter")
    shutil.copytree(beside, hidden)
    with pytest.raises(InputError, match="switched an adapter on; remove raybench-loads-no-adapter there"):
        Weights(resolve_model(beside), CpuDevice()).base(plan.configurations[0])


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"r": 4}, ["has r=8", "says r=4"]),
        ({"alpha": 16}, ["alpha=8", "alpha=16"]),
        ({"target_modules": ("q_proj",)}, ["targets ['q_proj', 'v_proj']", "targets ['q_proj']: make them agree"]),
    ],
)
def test_an_adapter_that_is_not_what_the_plan_says_is_refused(
    weights: Weights, plan: Plan, change: dict[str, Any], parts: list[str]
) -> None:
    lora = named(plan, "lora_mrpc_seed42")
    adapter = dataclasses.replace(lora.adapters[0], **change)
    with pytest.raises(InputError) as caught:
        weights.attach(weights.base(lora), adapter, lora)
    assert [part for part in ("mrpc_seed42", *parts) if part not in str(caught.value)] == []


def test_a_second_adapter_is_checked_too(weights: Weights, plan: Plan) -> None:
    multi = named(plan, "multi_lora_2_adapters")
    model = weights.attach(weights.base(multi), multi.adapters[0], multi)
    with pytest.raises(InputError, match="alpha=99"):
        weights.attach(model, dataclasses.replace(multi.adapters[1], alpha=99), multi)


# Adapters


@pytest.mark.parametrize("spec", ["prepared", "preset_device"])
def test_every_adapter_changes_the_weights_and_each_differently(spec: str, weights: Weights, plan: Plan) -> None:
    if spec == "preset_device":
        weights = Weights(ON_DEVICE, CpuDevice())
    multi = named(plan, "multi_lora_2_adapters")
    model: Any = weights.base(multi)
    for adapter in multi.adapters:
        model = weights.attach(model, adapter, multi)
    assert isinstance(model, peft.PeftModel)
    assert not any(module.training for module in model.modules())
    layers = lora_layers(model)
    assert len(layers) == 8 * 2
    for layer in layers:
        base = layer.get_base_layer().weight
        changes = [layer.get_delta_weight(peft_name(adapter.name)) for adapter in multi.adapters]
        for change in changes:
            share = float(change.std() / base.std())
            assert 0.2 < share < 0.4  # a trained adapter's share; more would drown the model, less hide a wrong merge
        assert float((changes[0] - changes[1]).norm() / changes[0].norm()) > 0.5


def test_every_adapter_has_a_head_of_its_own(weights: Weights, plan: Plan) -> None:
    """Otherwise nothing would show that one adapter answers with the head of another."""
    multi = named(plan, "multi_lora_2_adapters")
    for source in (weights, Weights(ON_DEVICE, CpuDevice())):
        model: Any = source.base(multi)
        heads = [model.score.weight]
        for adapter in multi.adapters:
            model = source.attach(model, adapter, multi)
        kept = model.base_model.model.score.modules_to_save
        heads += [kept[peft_name(adapter.name)].weight for adapter in multi.adapters]
        pairs = ((heads[0], heads[1]), (heads[0], heads[2]), (heads[1], heads[2]))
        assert all(float((a - b).norm() / a.norm()) > 0.1 for a, b in pairs)


@pytest.mark.parametrize("targets", [("nope_proj",), ("q_proj", "nope_proj")])
def test_modules_that_the_model_does_not_have_are_refused(plan: Plan, targets: tuple[str, ...]) -> None:
    weights = Weights(ON_DEVICE, CpuDevice())
    lora = named(plan, "lora_mrpc_seed42")
    adapter = dataclasses.replace(lora.adapters[0], target_modules=targets)
    with pytest.raises(InputError, match="adapter mrpc_seed42: the model has no module nope_proj"):
        weights.attach(weights.base(lora), adapter, lora)


def test_no_dropout_module_is_left_to_be_called(weights: Weights, folder: Path, plan: Plan, tmp_path: Path) -> None:
    mine = tmp_path / "with_dropout"
    shutil.copytree(folder / "adapters" / "mrpc_seed42", mine)
    config = json.loads((mine / "adapter_config.json").read_text())
    (mine / "adapter_config.json").write_text(json.dumps(config | {"lora_dropout": 0.1}))
    multi = named(plan, "multi_lora_2_adapters")
    plain = peft.PeftModel.from_pretrained(weights.base(multi), mine)
    assert sum(isinstance(m, torch.nn.Dropout) for m in plain.modules()) == 16
    model: Any = weights.base(multi)
    for adapter in multi.adapters:
        model = weights.attach(model, dataclasses.replace(adapter, path=str(mine)), multi)
    assert not any(isinstance(m, torch.nn.Dropout) for m in model.modules())


@pytest.mark.parametrize("spec", ["prepared", "preset_device"])
@pytest.mark.parametrize(("adapter_dtype", "expected"), [("float32", torch.float32), ("same", torch.bfloat16)])
def test_adapters_on_a_short_base_are_float32_or_the_same_as_the_plan_says(
    weights: Weights, plan: Plan, spec: str, adapter_dtype: str, expected: torch.dtype
) -> None:
    if spec == "preset_device":
        weights = Weights(ON_DEVICE, CpuDevice())
    multi = named(plan, "multi_lora_2_adapters", dtype="bfloat16", adapter_dtype=adapter_dtype)
    model: Any = weights.base(multi)
    for adapter in multi.adapters:
        model = weights.attach(model, adapter, multi)
    types = {name: p.dtype for name, p in model.named_parameters()}
    lora = {name: dtype for name, dtype in types.items() if ".lora_" in name}
    assert len(lora) == 2 * 2 * 16
    assert set(lora.values()) == {expected}
    base = {dtype for name, dtype in types.items() if ".lora_" not in name and ".modules_to_save." not in name}
    assert base == {torch.bfloat16}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_model_is_loaded_and_built_in_the_plans_data_type(weights: Weights, plan: Plan, dtype: str) -> None:
    for source in (weights, Weights(ON_DEVICE, CpuDevice())):
        for model in (
            source.base(named(plan, "lora_mrpc_seed42", dtype=dtype)),
            source.fine_tuned(named(plan, "fullft_mrpc_seed42", dtype=dtype)),
        ):
            assert {str(p.dtype) for p in model.parameters()} == {f"torch.{dtype}"}


def test_auto_is_float32_on_a_cpu_and_bfloat16_on_a_gpu() -> None:
    assert torch_dtype("auto", "cpu") is torch.float32
    assert torch_dtype("auto", "cuda") is torch.bfloat16
    assert torch_dtype("float16", "cuda") is torch.float16


# Built on the device


def test_a_built_model_is_the_same_each_time_and_another_for_another_seed() -> None:
    first, again, other = (build("micro", torch.float32, "cpu", seed) for seed in (0, 0, 1))
    pairs = list(zip(first.parameters(), again.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not any(torch.equal(a, c) for a, _, c in pairs if a.dim() > 1)
    assert not first.training


def test_a_built_base_and_its_fine_tunes_differ_as_their_names_do(plan: Plan) -> None:
    weights = Weights(ON_DEVICE, CpuDevice())
    full = [named(plan, f"fullft_{task}_seed42") for task in ("mrpc", "sst2")]
    heads = [model.score.weight for model in (weights.base(full[0]), *map(weights.fine_tuned, (*full, full[0])))]
    assert torch.equal(heads[1], heads[3])
    assert not any(torch.equal(a, b) for a, b in ((heads[0], heads[1]), (heads[0], heads[2]), (heads[1], heads[2])))


def test_a_built_adapter_is_the_same_alone_and_beside_another(plan: Plan) -> None:
    weights = Weights(ON_DEVICE, CpuDevice())
    multi = named(plan, "multi_lora_2_adapters")
    second = multi.adapters[1]
    alone = weights.attach(weights.base(multi), second, multi)
    both = weights.attach(weights.attach(weights.base(multi), multi.adapters[0], multi), second, multi)
    for a, b in zip(lora_layers(alone), lora_layers(both), strict=True):
        assert torch.equal(*(layer.get_delta_weight(peft_name(second.name)) for layer in (a, b)))


def test_shapes_are_those_of_the_models_that_they_stand_for() -> None:
    assert presets() == ("micro", "micro-lm", "small-lm", "tinyllama-1.1b")
    # TinyLlama-1.1B has 1,100,048,384 parameters; a classifier has two rows of 2,048 instead of its 32,000.
    tiny = build("tinyllama-1.1b", torch.bfloat16, "meta", seed=0)
    assert sum(p.numel() for p in tiny.parameters()) == 1_100_048_384 - (32_000 - 2) * 2_048
    generating = build("tinyllama-1.1b", torch.bfloat16, "meta", seed=0, task_type="CAUSAL_LM")
    assert sum(p.numel() for p in generating.parameters()) == 1_100_048_384
    micro = build("micro", torch.float32, "meta", seed=0)
    assert len(micro.model.layers) == 8  # type: ignore[union-attr,arg-type]
    assert all(preset_shape(preset)["config"]["model_type"] == "llama" for preset in presets())


def test_prepared_files_are_what_transformers_reads(weights: Weights, folder: Path, plan: Plan) -> None:
    plain = AutoModelForSequenceClassification.from_pretrained(folder / "base")
    ids = torch.tensor([[1, 5, 9, 200, 1023]])
    with torch.inference_mode():
        assert torch.equal(plain(ids).logits, weights.base(plan.configurations[0])(ids).logits)
