"""A PeftModel taken apart: what is plain LoRA comes out as matrices, what is more is refused by name."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from transformers import AutoConfig, GPT2LMHeadModel, LlamaForCausalLM, LlamaForSequenceClassification

from deploy.forms import no_peft_in, refusal
from model.family_checkpoints import LANGUAGE_MODELS
from model.small_checkpoints import gpt2_config, llama_config
from raybench.deploy.lora_layers import active_adapter, put_in_place, take_apart

ALONE = "which PEFT's own forward alone computes: use form peft"
Q = "model.layers.0.self_attn.q_proj"


def with_lora(made: Any = LlamaForCausalLM, config: Any = None, **settings: Any) -> Any:
    torch.manual_seed(0)
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False} | settings
    return peft.get_peft_model(made(config or llama_config()), peft.LoraConfig(**settings)).eval()


def test_matrices_come_out_as_peft_holds_them() -> None:
    model = with_lora(rank_pattern={"v_proj": 2}, alpha_pattern={"q_proj": 10})
    layer = model.get_base_model().get_submodule(Q)
    parts = take_apart(model, ["default"])
    names = {module: name for name, module in parts.model.named_modules()}
    assert [names[base] for base in parts.low_rank] == [
        f"model.layers.{i}.self_attn.{name}" for i in range(2) for name in ("q_proj", "v_proj")
    ]
    pairs = [of["default"] for of in parts.low_rank.values()]
    assert [(tuple(p.down.shape), tuple(p.up.shape), p.scaling) for p in pairs[:2]] == [
        ((4, 16), (16, 4), 2.5),
        ((2, 16), (16, 2), 3.0),
    ]
    assert torch.equal(pairs[0].down, layer.lora_A["default"].weight)
    assert torch.equal(pairs[0].up, layer.lora_B["default"].weight)
    assert parts.saved == {}
    assert type(parts.model) is LlamaForCausalLM
    assert no_peft_in(parts.model)
    assert not parts.model.training
    assert not any(p.requires_grad for p in parts.model.parameters())


def test_a_module_of_the_adapters_own_is_told_by_what_it_takes_the_place_of() -> None:
    model = with_lora(LlamaForSequenceClassification, modules_to_save=["score"])
    wrapper = model.get_base_model().score
    parts = take_apart(model, ["default"])
    assert parts.saved == {wrapper.original_module: {"default": wrapper.modules_to_save["default"]}}
    assert parts.model.score is wrapper.original_module


def test_adapters_within_a_module_of_the_adapters_own_are_refused() -> None:
    model = with_lora(LlamaForSequenceClassification, modules_to_save=["score"])
    wrapper = model.get_base_model().score
    layer = model.get_base_model().get_submodule(Q)
    wrapper.modules_to_save["default"] = torch.nn.Sequential(layer)
    assert refusal(take_apart, model, ["default"]) == (
        f"score: adapter default has a module of its own with adapters in it (modules_to_save), {ALONE}"
    )


def test_an_adapter_that_is_not_asked_for_is_dropped_whatever_it_is() -> None:
    model = with_lora()
    model.add_adapter("further", peft.LoraConfig(target_modules=["q_proj", "o_proj", "embed_tokens"], use_dora=True))
    parts = take_apart(model, ["default"])
    assert {tuple(of) for of in parts.low_rank.values()} == {("default",)}
    assert len(parts.low_rank) == 4
    assert no_peft_in(parts.model)


def test_a_module_in_two_places_is_put_in_both() -> None:
    inner, new = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    model = torch.nn.ModuleDict({"a": inner, "b": torch.nn.Sequential(inner, torch.nn.ReLU())})
    put_in_place(model, {inner: new})
    assert model["a"] is new
    assert model["b"][0] is new


@pytest.mark.parametrize(
    ("settings", "place", "more"),
    [
        ({"use_dora": True}, Q, "a variant of LoRA (DoraLinearVariant)"),
        ({"lora_bias": True}, Q, "a bias of its own (lora_bias)"),
        ({"target_modules": ["embed_tokens"]}, "model.embed_tokens", "a layer of kind Embedding on Embedding"),
        (
            {"trainable_token_indices": [1, 2]},
            "model.embed_tokens",
            "tokens of its own (trainable_token_indices)",
        ),
    ],
)
def test_what_is_more_than_plain_lora_is_refused(settings: dict[str, Any], place: str, more: str) -> None:
    model = with_lora(config=llama_config(attention_bias=True), **settings)
    assert refusal(take_apart, model, ["default"]) == f"{place}: adapter default has {more}, {ALONE}"
    assert not no_peft_in(model)  # nothing was taken out of it


def test_parameters_of_experts_are_refused() -> None:
    (case,) = (f for f in LANGUAGE_MODELS if f.name == "mixtral")
    config = AutoConfig.for_model(case.model_type, **case.shape)
    model = peft.get_peft_model(case.auto.from_config(config), peft.LoraConfig(**case.adapter))
    line = refusal(take_apart, model, ["default"])
    assert line == (
        f"model.layers.0.mlp.experts: adapter default has a layer of kind ParamWrapper on MixtralExperts, {ALONE}"
    )


def test_a_wrong_fan_in_is_refused() -> None:
    model = with_lora(GPT2LMHeadModel, gpt2_config(), target_modules=["c_attn"], fan_in_fan_out=True)
    layer = model.get_base_model().transformer.h[1].attn.c_attn
    layer.fan_in_fan_out = False
    assert refusal(take_apart, model, ["default"]) == (
        f"transformer.h.1.attn.c_attn: adapter default has fan_in_fan_out=False on Conv1D, {ALONE}"
    )


def test_hooks_are_refused() -> None:
    model = with_lora()
    model.get_base_model().get_submodule(Q).register_forward_hook(lambda *_: None)
    assert refusal(take_apart, model, ["default"]) == f"{Q}: adapter default has hooks on its layer, {ALONE}"


def test_adapters_of_another_kind_are_refused() -> None:
    model = peft.get_peft_model(
        LlamaForCausalLM(llama_config()), peft.IA3Config(target_modules=["q_proj"], feedforward_modules=[])
    )
    assert refusal(take_apart, model, ["default"]) == f"adapter default is IA3, not LORA, {ALONE}"


def test_a_plain_model_is_refused() -> None:
    model = LlamaForCausalLM(llama_config())
    line = "LlamaForCausalLM is no PeftModel; give the model with its adapters on it"
    assert refusal(active_adapter, model) == line
    assert refusal(take_apart, model, ["default"]) == line


def test_names_are_of_adapters_and_each_once() -> None:
    model = with_lora()
    assert refusal(take_apart, model, ["mine"]) == "the model has no adapter mine; it has default"
    assert refusal(take_apart, model, ["default"] * 2) == "adapters default, default: name one or more, each once"
    assert refusal(take_apart, model, []) == "adapters none: name one or more, each once"


def test_a_merged_adapter_is_refused() -> None:
    model = with_lora()
    model.merge_adapter()
    assert refusal(take_apart, model, ["default"]) == (
        f"{Q}: adapter default is merged into its base already; undo it (unmerge_adapter)"
    )


def test_one_adapter_is_active_everywhere() -> None:
    model = with_lora()
    model.add_adapter("further", peft.LoraConfig(target_modules=["q_proj", "v_proj"]))
    assert active_adapter(model) == "default"
    model.base_model.set_adapter(["default", "further"])
    assert refusal(active_adapter, model) == (
        "the model has 2 active adapters (default, further); activate one by set_adapter, or use form peft"
    )
    model.set_adapter("further")
    assert active_adapter(model) == "further"
    model.get_base_model().get_submodule(Q).set_adapter("default")
    assert refusal(active_adapter, model) == (
        f"{Q}: active there is default, in the model further; activate one everywhere by set_adapter"
    )
    model.set_adapter("further")
    model.base_model.disable_adapter_layers()
    assert refusal(active_adapter, model) == f"{Q}: its adapters are disabled; enable them (enable_adapter_layers)"
