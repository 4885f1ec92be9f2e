"""Seeded adapters change every kind of layer that PEFT has LoRA for, or are refused by its name."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from transformers import (
    BertForSequenceClassification,
    GPT2ForSequenceClassification,
    LlamaForSequenceClassification,
    MixtralConfig,
    MixtralForSequenceClassification,
    SqueezeBertConfig,
    SqueezeBertForSequenceClassification,
)

from model.small_checkpoints import adapter_at, bert_config, gpt2_config, llama_config, logits
from raybench.model.adapters import lora_layers, without_low_rank
from raybench.model.seeded import ADAPTER_STRENGTH, add_seeded_adapter, seed_weights
from raybench.records import InputError

SQUEEZE = {"hidden_size": 16, "embedding_size": 16, "intermediate_size": 32, "vocab_size": 64}
ONE_GROUP = dict.fromkeys(
    ("q_groups", "k_groups", "v_groups", "post_attention_groups", "intermediate_groups", "output_groups"), 1
)


def seeded(model: Any, *targets: str, name: str = "mine") -> Any:
    return add_seeded_adapter(model, adapter_at(None, name, target_modules=targets), autocast_adapter_dtype=True).eval()


def shares(model: Any) -> list[float]:
    """By how much each layer's weight is changed, as a share of its spread."""
    found = []
    for layer in lora_layers(model):
        weight = getattr(layer.get_base_layer(), getattr(layer, "parameter_name", "weight"))
        found.append(float((layer.get_delta_weight("mine").std() / weight.std()).detach()))
    return found


@pytest.mark.parametrize(
    ("made", "config", "targets", "layers"),
    [
        (LlamaForSequenceClassification, llama_config(), ["q_proj"], 2),
        (LlamaForSequenceClassification, llama_config(), ["embed_tokens"], 1),
        (LlamaForSequenceClassification, llama_config(), ["embed_tokens", "down_proj"], 3),
        (BertForSequenceClassification, bert_config(), ["word_embeddings", "position_embeddings", "dense"], 9),
        (GPT2ForSequenceClassification, gpt2_config(), ["wte", "c_attn", "c_fc", "c_proj"], 9),
        (
            SqueezeBertForSequenceClassification,
            SqueezeBertConfig(**SQUEEZE, **ONE_GROUP, num_hidden_layers=2, num_attention_heads=2),
            ["query", "word_embeddings"],
            3,
        ),
    ],
)
def test_every_layer_is_changed_by_the_same_share_and_a_merge_does_the_same(
    made: Any, config: Any, targets: list[str], layers: int
) -> None:
    torch.manual_seed(0)
    model = seeded(made(config), *targets)
    found = shares(model)
    assert len(found) == layers
    assert all(0.5 * ADAPTER_STRENGTH < share < 1.5 * ADAPTER_STRENGTH for share in found)
    alone = logits(model)
    with without_low_rank(model):
        assert not torch.equal(logits(model), alone)
    assert torch.allclose(logits(model.merge_and_unload()), alone, rtol=1e-4, atol=1e-5)


def test_the_experts_that_a_parameter_holds_are_changed() -> None:
    torch.manual_seed(0)
    shape = llama_config().to_dict()
    sizes = {
        k: shape[k] for k in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "pad_token_id")
    }
    experts = MixtralConfig(**sizes, num_attention_heads=2, num_key_value_heads=2, num_local_experts=4)
    config = peft.LoraConfig(
        r=4,
        lora_alpha=8,
        target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
        target_modules=[],
        task_type="SEQ_CLS",
        inference_mode=True,
    )
    model = peft.get_peft_model(MixtralForSequenceClassification(experts), config, "mine").eval()
    seed_weights(model, "mine", 1)
    found = shares(model)
    assert len(found) == 4
    assert all(0.8 * ADAPTER_STRENGTH < share < 1.2 * ADAPTER_STRENGTH for share in found)
    alone = logits(model)
    with without_low_rank(model):
        assert not torch.equal(logits(model), alone)


class Pictures(torch.nn.Module):
    """Layers that no text model has."""

    def __init__(self) -> None:
        super().__init__()
        self.flat, self.point = torch.nn.Conv2d(8, 16, 3), torch.nn.Conv2d(8, 16, 1)
        self.deep, self.grouped = torch.nn.Conv3d(8, 16, 2), torch.nn.Conv2d(8, 16, 3, groups=2)
        self.attention = torch.nn.MultiheadAttention(16, 2)


@pytest.mark.parametrize("layer", ["flat", "point", "deep"])
def test_convolutions_are_changed(layer: str) -> None:
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=[layer], inference_mode=True)
    model = peft.get_peft_model(Pictures(), config, "mine")
    seed_weights(model, "mine", 1)
    assert shares(model) == [pytest.approx(ADAPTER_STRENGTH, rel=0.3)]


def test_a_grouped_convolution_is_changed_as_much() -> None:
    """Its product PEFT cannot form, so it cannot merge it; what it adds to a picture is as much as of one group."""
    added = {}
    for layer in ("flat", "grouped"):
        torch.manual_seed(0)
        config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=[layer], inference_mode=True)
        model: Any = peft.get_peft_model(Pictures(), config, "mine")
        seed_weights(model, "mine", 1)
        (found,) = lora_layers(model)
        picture = torch.randn(1, 8, 9, 9)
        added[layer] = float((found.lora_B["mine"](found.lora_A["mine"](picture))).std().detach())
    assert added["grouped"] == pytest.approx(added["flat"], rel=1.0)


def test_a_layer_that_cannot_be_filled_is_refused_by_name_and_kind() -> None:
    config = peft.LoraConfig(r=4, target_modules=["attention"], inference_mode=True)
    model = peft.get_peft_model(Pictures(), config, "mine")
    with pytest.raises(InputError, match=r"adapter mine: attention is a MultiheadAttention, .*leave it out of target_"):
        seed_weights(model, "mine", 1)


def test_a_quantized_layer_is_refused_by_name_and_kind() -> None:
    model = peft.get_peft_model(
        LlamaForSequenceClassification(llama_config()), peft.LoraConfig(target_modules=["q_proj"]), "mine"
    )
    packed = model.base_model.model.model.layers[1].self_attn.q_proj.get_base_layer()
    packed.weight = torch.nn.Parameter(torch.ones(16, 8, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(InputError, match=r"adapter mine: model\.layers\.1\.self_attn\.q_proj is a Linear"):
        seed_weights(model, "mine", 1)


@pytest.mark.parametrize(
    ("target", "told"),
    [("nope", "the model has no module nope"), ("norm", r"Target module LlamaRMSNorm.* is not supported")],
)
def test_a_module_that_has_no_lora_is_refused(target: str, told: str) -> None:
    with pytest.raises(InputError, match=rf"adapter mine: {told}.*mend target_modules"):
        seeded(LlamaForSequenceClassification(llama_config()), "q_proj", target)


def test_an_adapter_on_embeddings_is_the_same_alone_and_beside_another() -> None:
    def base() -> Any:
        torch.manual_seed(0)
        return LlamaForSequenceClassification(llama_config())

    alone = seeded(base(), "embed_tokens")
    both: Any = seeded(seeded(base(), "embed_tokens", "q_proj", name="other"), "embed_tokens")
    both.set_adapter("mine", inference_mode=True)
    assert torch.equal(logits(both), logits(alone))


def test_the_head_of_a_regression_has_numbers() -> None:
    """Its bias is one number, whose spread is none."""
    model = seeded(BertForSequenceClassification(bert_config(num_labels=1)), "query")
    assert bool(logits(model).isfinite().all())
