"""Adapters of every kind compute what PEFT computes, as people save them; those that cannot be measured are refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaForCausalLM

from model.family_checkpoints import LANGUAGE_MODELS
from model.small_checkpoints import adapter_at, deploying, llama_config, logits, plan_of, save_adapter, save_model
from raybench.machine.device import CpuDevice
from raybench.model.adapter_files import _KNOWN_KEYS, AdapterFiles
from raybench.model.adapters import without_low_rank
from raybench.model.hub import ModelFiles
from raybench.model.problems import FileCheck, check_files
from raybench.model.weights import Noticed, Weights, resolve_model
from raybench.plan.plan import Adapter, Configuration
from raybench.records import InputError

PATHS = [f"model.layers.{layer}.self_attn.{part}_proj" for layer in (0, 1) for part in "qv"]
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "patterns": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 3}},
    "lora_bias": {"lora_bias": True},
    "trained biases": {"bias": "all"},
    "one layer": {"layers_to_transform": [1]},
    "full paths": {"target_modules": PATHS},
    "a pattern": {"target_modules": r".*\.(q|v)_proj"},
    "all linear": {"target_modules": "all-linear"},
    "its own head": {"modules_to_save": ["lm_head"]},
    "its own embedding": {"modules_to_save": ["embed_tokens"]},
    "its own both": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "its own norm": {"modules_to_save": ["norm"]},
    "tied change": {"target_modules": ["embed_tokens"], "ensure_weight_tying": True},
    "the base's embedding": {"save_embedding_layers": True},
    "single tokens": {"trainable_token_indices": [1, 2, 60]},
    "deeper base": {"layer_replication": [[0, 2], [0, 2]]},
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
    "eva": {"init_lora_weights": "eva"},
    "dora on pissa": {"init_lora_weights": "pissa", "use_dora": True},
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, str]:
    """A language model, by whether its head is its embedding. It has biases, into which others can be merged."""
    folder = tmp_path_factory.mktemp("bases")
    shape = {"initializer_range": 0.2, "attention_bias": True}
    return {
        tied: save_model(LlamaForCausalLM, llama_config(tie_word_embeddings=tied, **shape), folder / str(tied))
        for tied in (False, True)
    }


@pytest.fixture(scope="module")
def base(bases: dict[bool, str]) -> str:
    return bases[False]


def trained(base: str, folder: Path, seed: int = 0, **settings: Any) -> str:
    """Saved after training: also one that begins with weights of its own has moved on from them."""
    path = save_adapter(base, folder, AutoModelForCausalLM, seed, **settings)
    if settings.get("init_lora_weights"):
        file, draws = Path(path, "adapter_model.safetensors"), torch.Generator().manual_seed(seed)
        moved = {n: w + 0.1 * torch.randn(w.shape, generator=draws) for n, w in load_file(file).items()}
        save_file(moved, file, {"format": "pt"})
    return path


def unstated(path: str, name: str = "mine", **changes: Any) -> Adapter:
    return adapter_at(path, name, **{"r": None, "alpha": None, "target_modules": None} | changes)


def loaded(base: str, *paths: str, keep_base: bool = False, **changes: Any) -> Any:
    """Adapters ``a0``, ``a1``, ... on ``base``, as raybench loads them."""
    weights = Weights(resolve_model(base, "CAUSAL_LM"), CpuDevice())
    adapters = [unstated(path, f"a{place}", task=f"t{place}") for place, path in enumerate(paths)]
    configuration = deploying(*adapters, **changes)
    model: Any = weights.base(configuration)
    for adapter in adapters:
        model = weights.attach(model, adapter, configuration, keep_base=keep_base)
    return model


def plain(base: str, dtype: torch.dtype = torch.float32) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype=dtype).eval()


def plain_peft(base: str, path: str, dtype: torch.dtype = torch.float32) -> Any:
    return peft.PeftModel.from_pretrained(plain(base, dtype), path).eval()


def checked(base: str, *paths: str, **changes: Any) -> FileCheck:
    adapters = [unstated(path, f"a{place}", task=f"t{place}") for place, path in enumerate(paths)]
    plan = plan_of(deploying(*adapters, **changes), task_type="CAUSAL_LM")
    return check_files(plan, resolve_model(base, "CAUSAL_LM"), None)


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm())


def configured(path: str, to: Path, drop: tuple[str, ...] = (), **values: Any) -> str:
    """A copy of an adapter whose configuration has ``values`` and lacks ``drop``."""
    shutil.copytree(path, to)
    file = to / "adapter_config.json"
    kept = {key: value for key, value in json.loads(file.read_text()).items() if key not in drop}
    file.write_text(json.dumps(kept | values))
    return str(to)


# What is computed


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_of_any_kind_fits_and_computes_what_peft_computes(
    kind: str, tied: bool, bases: dict[bool, str], tmp_path: Path
) -> None:
    base = bases[tied]
    path = trained(base, tmp_path / "adapter", **KINDS[kind])
    assert (checked(base, path).problems, checked(base, path).notes) == ((), ())
    for dtype in ("float32", "bfloat16"):
        found = logits(loaded(base, path, dtype=dtype))
        assert torch.equal(found, logits(plain_peft(base, path, getattr(torch, dtype))))
        assert difference(found, logits(plain(base))) > 0.05


@pytest.mark.parametrize("saved_as", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_head_of_another_data_type_takes_the_bases(
    saved_as: torch.dtype, dtype: str, base: str, tmp_path: Path
) -> None:
    path = trained(base, tmp_path / "adapter", modules_to_save=["lm_head"])
    file = Path(path, "adapter_model.safetensors")
    stored = {name: weight.to(saved_as) for name, weight in load_file(file).items()}
    save_file(stored, file, {"format": "pt"})
    model = loaded(base, path, dtype=dtype)
    head = model.get_parameter("base_model.model.lm_head.modules_to_save.a0.weight")
    assert torch.equal(head, stored["base_model.model.lm_head.weight"].to(getattr(torch, dtype)))
    assert torch.equal(logits(model), logits(plain_peft(base, path, getattr(torch, dtype))))


def test_an_adapter_of_an_older_peft_is_loaded(base: str, tmp_path: Path) -> None:
    """0.2 wrote these keys, two of which PEFT no longer knows."""
    path = trained(base, tmp_path / "new")
    known = "base_model_name_or_path bias fan_in_fan_out inference_mode init_lora_weights lora_alpha lora_dropout "
    known += "modules_to_save peft_type r target_modules task_type"
    config = json.loads(Path(path, "adapter_config.json").read_text())
    older = configured(
        path, tmp_path / "older", tuple(config.keys() - known.split()), enable_lora=None, merge_weights=False
    )
    assert (checked(base, older).problems, checked(base, older).notes) == ((), ())
    assert torch.equal(logits(loaded(base, older)), logits(plain_peft(base, path)))


def test_what_a_newer_peft_says_of_an_adapter_is_told_and_what_it_denies_is_not(base: str, tmp_path: Path) -> None:
    path = trained(base, tmp_path / "a")
    newer = configured(path, tmp_path / "newer", use_entanglement=True, use_teleport=False, spin_config=None, spins={})
    assert checked(base, newer).problems == ()
    assert checked(base, newer).notes == (
        f"adapter a0: {newer}: its adapter_config.json has use_entanglement, which PEFT leaves out unless it is newer "
        "than raybench knows it",
    )
    assert torch.equal(logits(loaded(base, newer)), logits(plain_peft(base, path)))


def test_the_keys_that_raybench_knows_are_those_of_peft() -> None:
    assert {field.name for field in dataclasses.fields(peft.LoraConfig)} == _KNOWN_KEYS


def test_an_adapter_on_experts_by_their_former_names_computes_their_change(tmp_path: Path) -> None:
    """Until transformers 5 each expert was a module of its own; PEFT makes one parameter's adapter of them."""
    mixtral = next(f for f in LANGUAGE_MODELS if f.name == "mixtral")
    base, _ = mixtral.save(tmp_path)
    stored, truth = {}, plain(base)
    draws = torch.Generator().manual_seed(0)
    for layer, block in enumerate(truth.model.layers):
        for expert in range(4):
            change = {}
            for name, (outputs, inputs) in {"w1": (32, 16), "w3": (32, 16), "w2": (16, 32)}.items():
                a, b = torch.randn(4, inputs, generator=draws), torch.randn(outputs, 4, generator=draws)
                key = f"base_model.model.model.layers.{layer}.block_sparse_moe.experts.{expert}.{name}"
                stored |= {f"{key}.lora_A.weight": a, f"{key}.lora_B.weight": b}
                change[name] = 2 * b @ a
            block.mlp.experts.gate_up_proj.data[expert] += torch.cat([change["w1"], change["w3"]])
            block.mlp.experts.down_proj.data[expert] += change["w2"]
    path = tmp_path / "former"
    path.mkdir()
    save_file(stored, path / "adapter_model.safetensors", {"format": "pt"})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8}
    (path / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["w1", "w2", "w3"]}))
    assert checked(base, str(path)).problems == ()
    model = loaded(base, str(path))
    assert torch.equal(logits(model), logits(plain_peft(base, str(path))))
    assert difference(logits(model), logits(truth)) < 1e-5
    only_two = {name: weight for name, weight in stored.items() if ".w2." not in name}
    save_file(only_two, path / "adapter_model.safetensors", {"format": "pt"})
    (path / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["w1", "w3"]}))
    with pytest.raises(InputError, match="does not fit the model: of its weights 4 that the model needs are not in"):
        loaded(base, str(path))


# Where it is


def test_a_base_that_an_adapter_lies_beside_is_loaded_plain(base: str, tmp_path: Path) -> None:
    """transformers switches it on."""
    whole = tmp_path / "whole"
    shutil.copytree(base, whole)
    shutil.copytree(trained(base, tmp_path / "a"), whole, dirs_exist_ok=True)
    assert difference(logits(AutoModelForCausalLM.from_pretrained(whole).eval()), logits(plain(base))) > 0.05
    weights = Weights(resolve_model(str(whole), "CAUSAL_LM"), CpuDevice())
    assert torch.equal(logits(weights.base(deploying())), logits(plain(base)))
    assert weights.noticed() == Noticed(None, str(whole))
    own = trained(base, tmp_path / "own", seed=1)
    assert torch.equal(logits(loaded(str(whole), own)), logits(plain_peft(base, own)))


@pytest.mark.parametrize("name", ["lm_head", "embed_tokens", "modules_to_save", "original_module", "norm"])
def test_an_adapter_may_be_called_as_what_it_brings(name: str, base: str, tmp_path: Path) -> None:
    path = trained(base, tmp_path / "a", modules_to_save=["lm_head", "embed_tokens"])
    weights = Weights(resolve_model(base, "CAUSAL_LM"), CpuDevice())
    configuration = deploying(unstated(path, name))
    model = weights.attach(weights.base(configuration), configuration.adapters[0], configuration)
    assert torch.equal(logits(model), logits(plain_peft(base, path)))


def test_one_model_is_no_other_however_many_are_loaded(base: str, tmp_path: Path) -> None:
    """Of two PeftModels over one base object the first would answer with the second's adapter."""
    paths = [trained(base, tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    first = loaded(base, paths[0])
    before = logits(first)
    second = loaded(base, paths[1])
    assert torch.equal(logits(first), before)
    assert difference(logits(second), before) > 0.05


def test_an_adapter_a_folder_deeper_is_found_there_only(base: str, tmp_path: Path) -> None:
    """As PEFT saves one that is not called "default"."""
    model = plain(base)
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    named = peft.get_peft_model(model, config, "tuned")
    named.save_pretrained(tmp_path)
    assert torch.equal(logits(loaded(base, str(tmp_path / "tuned"))), logits(named.eval()))
    assert checked(base, str(tmp_path / "tuned")).problems == ()
    assert checked(base, str(tmp_path)).problems == (
        f"adapter a0: {tmp_path}: no adapter_config.json there, but in {tmp_path}/tuned: give that folder",
    )


def test_an_adapter_inside_of_a_hub_repository_is_refused_with_the_way_to_get_it(base: str) -> None:
    assert checked(base, "owner/name/step-100").problems == (
        "adapter a0: owner/name/step-100: no such folder, nor a hub id (owner/name); of a repository's folder give a "
        "copy: hf download owner/name --include 'step-100/*' --local-dir DIR",
    )


# Those that change the base


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_one_that_changes_the_base_is_measured_alone_as_it_was_trained(init: str, base: str, tmp_path: Path) -> None:
    """PEFT takes the adapter's first weights out of the base again, wherever it is loaded: the same ones."""
    torch.manual_seed(1)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=init, task_type="CAUSAL_LM")
    as_trained = peft.get_peft_model(plain(base), config).eval()
    with torch.no_grad():
        for name, parameter in as_trained.named_parameters():
            if ".lora_" in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
    as_trained.save_pretrained(tmp_path)
    torch.manual_seed(2)  # whatever is drawn in between
    model = loaded(base, str(tmp_path))
    assert torch.equal(logits(model), logits(as_trained))
    separate = logits(model)
    with without_low_rank(model):
        assert difference(logits(model), logits(plain(base))) > 0.01  # what is left of the base
    kept = loaded(base, str(tmp_path), keep_base=True)
    with without_low_rank(kept):
        assert torch.equal(logits(kept), logits(plain(base)))
    assert difference(logits(model.merge_and_unload()), separate) < 1e-6


CONVERT = "convert it to plain LoRA, as PEFT's save_pretrained does with path_initial_model_for_weight_conversion"
ALONE = {
    "pissa": f"it changes the base itself, for all that use it: measure it apart, or {CONVERT}",
    "olora": f"it changes the base itself, for all that use it: measure it apart, or {CONVERT}",
    "deeper base": "it makes the base itself deeper, for all that use it: measure it apart",
}


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", ALONE)
def test_one_that_changes_the_base_is_not_resident_with_others(
    kind: str, first: bool, base: str, tmp_path: Path
) -> None:
    paths = [trained(base, tmp_path / "other", seed=1), trained(base, tmp_path / "it", **KINDS[kind])]
    paths = paths[::-1] if first else paths
    key = "layer_replication" if kind == "deeper base" else f"init_lora_weights '{kind}'"
    told = f"adapter a{1 - first} in {tmp_path}/it has {key}: {ALONE[kind]}"
    assert checked(base, *paths, strategy="multi_lora").problems == (f"configuration chosen: {told}",)
    with pytest.raises(InputError) as caught:
        loaded(base, *paths, strategy="multi_lora")
    assert str(caught.value) == told


@pytest.mark.parametrize("init", ["pissa_niter_4", "corda", "loftq", "lora_ga"])
def test_one_that_changes_the_base_otherwise_than_in_training_is_refused(init: str, base: str, tmp_path: Path) -> None:
    values = {"init_lora_weights": init, "loftq_config": {"loftq_bits": 4}}
    path = configured(trained(base, tmp_path / "a"), tmp_path / "b", **values)
    told = f"has init_lora_weights '{init}': loaded, it changes the base otherwise than when it was trained; {CONVERT}"
    assert checked(base, path).problems == (f"adapter a0: {path}/adapter_config.json {told}",)
    with pytest.raises(InputError) as caught:
        loaded(base, path)
    assert str(caught.value) == f"adapter a0 in {path} {told}"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"alora_invocation_tokens": [3, 4]}, "it changes only what comes after those tokens, so that it cannot be "
                                              "merged"),
        ({"arrow_config": {"top_k": 2}}, "it chooses among other adapters for each token"),
        ({"kasa_config": {"beta": 1e-4}}, "it takes the base's weights apart"),
    ],
)  # fmt: skip
def test_kinds_that_are_not_measured_are_refused_by_name(
    values: dict[str, Any], why: str, base: str, tmp_path: Path
) -> None:
    path = configured(trained(base, tmp_path / "a"), tmp_path / "b", **values)
    told = f"has {next(iter(values))}: {why}; such adapters are not measured"
    assert checked(base, path).problems == (f"adapter a0: {path}/adapter_config.json {told}",)
    with pytest.raises(InputError) as caught:
        AdapterFiles.read(path, ModelFiles(), "CAUSAL_LM")
    assert str(caught.value) == f"{path}/adapter_config.json {told}"


# Resident together


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    "kind", ["rslora", "dora", "lora_bias", "its own head", "its own both", "the base's embedding", "single tokens"]
)
def test_adapters_that_are_resident_together_each_compute_what_they_do_alone(
    kind: str, tied: bool, bases: dict[bool, str], tmp_path: Path
) -> None:
    base = bases[tied]
    paths = [
        trained(base, tmp_path / "plain", seed=1),
        trained(base, tmp_path / "one", seed=2, **KINDS[kind]),
        trained(base, tmp_path / "two", seed=3, **KINDS[kind]),
    ]
    assert checked(base, *paths, strategy="multi_lora").problems == ()
    model = loaded(base, *paths, strategy="multi_lora")
    for place in (0, 1, 2, 1, 0):
        model.set_adapter(f"a{place}", inference_mode=True)
        assert torch.equal(logits(model), logits(plain_peft(base, paths[place])))


def test_an_adapter_that_brings_another_base_embedding_is_not_resident_with_others(base: str, tmp_path: Path) -> None:
    """PEFT puts what it saved of the base in the place of the base's own, for all."""
    other = plain(base)
    with torch.no_grad():
        other.model.embed_tokens.weight[7] += 1
    other.save_pretrained(tmp_path / "other")
    on_embedding = {"target_modules": ["q_proj", "embed_tokens"], "save_embedding_layers": "auto"}
    paths = [
        trained(base, tmp_path / "a0", **on_embedding),
        trained(str(tmp_path / "other"), tmp_path / "a1", **on_embedding),
    ]
    assert torch.equal(logits(loaded(base, paths[1])), logits(plain_peft(base, paths[1])))
    both = plain_peft(base, paths[0])
    before = logits(both)
    both.load_adapter(paths[1], "second")
    assert difference(logits(both), before) > 0.01
    with pytest.raises(InputError) as caught:
        loaded(base, *paths, strategy="multi_lora")
    assert str(caught.value) == (
        f"adapter a1 in {paths[1]} brings model.embed_tokens.base_layer.weight of the base itself, other than this "
        "base's: the adapters beside it would compute with them too; measure it apart"
    )


def test_an_adapter_without_tokens_of_its_own_comes_before_one_with(base: str, tmp_path: Path) -> None:
    paths = [trained(base, tmp_path / "tokens", **KINDS["single tokens"]), trained(base, tmp_path / "plain")]
    assert checked(base, *paths[::-1], strategy="multi_lora").problems == ()
    assert checked(base, *paths, strategy="multi_lora").problems == (
        "configuration chosen: PEFT cannot load adapter a1 after a0, which has single tokens trained "
        "(trainable_token_indices): name a1 before it",
    )


def test_adapters_of_other_parameters_cannot_be_resident_together(tmp_path: Path) -> None:
    mixtral = next(f for f in LANGUAGE_MODELS if f.name == "mixtral")
    base, _ = mixtral.save(tmp_path)
    one, two = (
        trained(base, tmp_path / name, target_modules=["q_proj"], target_parameters=[f"mlp.experts.{name}_proj"])
        for name in ("down", "gate_up")
    )
    assert checked(base, one, one, strategy="multi_lora").problems == ()
    assert checked(base, one, two, strategy="multi_lora").problems == (
        "configuration chosen: its adapters have other target_parameters (a0 mlp.experts.down_proj, a1 "
        "mlp.experts.gate_up_proj); PEFT cannot hold them on one base: measure them apart",
    )


def test_biases_that_the_base_cannot_take_are_not_merged(base: str, tmp_path: Path) -> None:
    bare = save_model(LlamaForCausalLM, llama_config(), tmp_path / "bare")
    path = trained(bare, tmp_path / "a", lora_bias=True)
    told = (
        "configuration chosen: adapter a0 has biases (lora_bias) for model.layers.0.self_attn.q_proj and 3 more, where "
        "the base has none that they could be merged into: measure it separate"
    )
    assert checked(bare, path, strategy="lora_merged").problems == (told,)
    assert checked(bare, path).problems == ()
    assert checked(base, path, strategy="lora_merged").problems == ()
    with pytest.raises(RuntimeError, match="Impossible to merge LoRA with `lora_bias=True`"):
        loaded(bare, path).merge_and_unload()


# Task types


def test_an_adapter_of_a_classifier_is_refused_for_a_language_model_with_both_remedies(
    base: str, tmp_path: Path
) -> None:
    path = configured(trained(base, tmp_path / "a"), tmp_path / "b", task_type="SEQ_CLS")
    assert checked(base, path).problems == (
        f"adapter a0: {path}/adapter_config.json: task_type is SEQ_CLS, the plan measures a causal language model "
        '(CAUSAL_LM): set task_type = "SEQ_CLS" in the plan, or give another adapter',
    )
    with pytest.raises(InputError, match=f"adapter a0 in {path} is for SEQ_CLS, not CAUSAL_LM; give one of a causal"):
        loaded(base, path)


def test_an_adapter_that_says_no_task_is_known_by_the_class_that_it_was_made_on(base: str, tmp_path: Path) -> None:
    path = trained(base, tmp_path / "lm", task_type=None)
    assert checked(base, path).problems == ()
    assert torch.equal(logits(loaded(base, path)), logits(plain_peft(base, path)))
    other = save_adapter(base, tmp_path / "cls", AutoModelForSequenceClassification, task_type=None)
    assert checked(base, other).problems == (
        f"adapter a0: {other}/adapter_config.json: it was made on a LlamaForSequenceClassification, in which modules "
        "have other names than in a causal language model; make it on one from AutoModelForCausalLM",
    )


def test_a_configuration_of_its_own_checkpoint_needs_no_adapter(base: str, bases: dict[bool, str]) -> None:
    full = Configuration("full", "full_ft", 0, ("t0",), checkpoint=bases[True])
    found = check_files(plan_of(full, task_type="CAUSAL_LM"), resolve_model(base, "CAUSAL_LM"), None)
    assert (found.problems, found.notes) == ((), ())
    model = Weights(resolve_model(base, "CAUSAL_LM"), CpuDevice()).fine_tuned(full)
    assert torch.equal(logits(model), logits(plain(bases[True])))
