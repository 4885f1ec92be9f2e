"""A base without the head or pooler of its class has the same one in every load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    BertForMaskedLM,
    BertModel,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
)

from model.small_checkpoints import adapter_at, bert_config, deploying, gpt2_config, llama_config, save_model
from raybench.machine.device import CpuDevice
from raybench.model.heads import draw_missing
from raybench.model.weights import Noticed, Weights, resolve_model
from raybench.records import InputError

BERT_HEAD = ["bert.pooler.dense.bias", "bert.pooler.dense.weight", "classifier.bias", "classifier.weight"]
BASES = [
    (LlamaForCausalLM, llama_config(), {}, ["score.weight"]),
    (LlamaModel, llama_config(), {}, ["score.weight"]),
    (GPT2LMHeadModel, gpt2_config(), {}, ["score.weight"]),
    (BertForMaskedLM, bert_config(), {}, BERT_HEAD),
    (BertModel, bert_config(), {"add_pooling_layer": False}, BERT_HEAD),
    (BertModel, bert_config(), {}, BERT_HEAD[2:]),
]


def parameters(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(("made", "config", "arguments", "missing"), BASES)
def test_what_a_base_does_not_have_is_drawn_alike_in_every_load_and_data_type(
    made: Any, config: Any, arguments: dict[str, Any], missing: list[str], tmp_path: Path
) -> None:
    weights = Weights(resolve_model(save_model(made, config, tmp_path, **arguments)), CpuDevice())
    loads = []
    for seed, dtype in enumerate(("float32", "float32", "bfloat16")):
        torch.manual_seed(seed)
        loads.append(parameters(weights.base(deploying(dtype=dtype))))
        assert weights.noticed() == Noticed(f"base: {', '.join(missing)}", None)
    first, again, short = loads
    for name, parameter in first.items():
        assert torch.equal(parameter, again[name])
        assert torch.equal(parameter.bfloat16(), short[name])
    for name in missing:
        if name.endswith("bias"):
            assert not first[name].any()
        else:  # as the class draws them
            assert 0.7 < float(first[name].std()) / config.initializer_range < 1.3


def test_another_process_draws_the_same(tmp_path: Path) -> None:
    """So these are the numbers, wherever this is run."""
    weights = Weights(resolve_model(save_model(LlamaForCausalLM, llama_config(), tmp_path)), CpuDevice())
    head = parameters(weights.base(deploying()))["score.weight"]
    assert head[:, 0].tolist() == pytest.approx([-0.0096529108, 0.0424915813], rel=1e-6)


def test_every_fine_tune_and_every_copy_for_an_adapter_has_that_head(tmp_path: Path) -> None:
    base = save_model(LlamaForCausalLM, llama_config(), tmp_path / "base")
    weights = Weights(resolve_model(base), CpuDevice())
    head = parameters(weights.base(deploying()))["score.weight"]
    assert torch.equal(parameters(weights.fine_tuned(deploying()))["score.weight"], head)
    weights.noticed()
    assert torch.equal(parameters(weights.fine_tuned(deploying(checkpoint=base)))["score.weight"], head)
    assert weights.noticed() == Noticed(f"{base}: score.weight", None)
    copies = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        configuration = deploying(adapter_at(None))
        model = weights.attach(weights.base(configuration), configuration.adapters[0], configuration)
        copies.append(parameters(model)["base_model.model.score.modules_to_save.mine.weight"])
    assert torch.equal(copies[0], copies[1])


def test_nothing_else_is_touched_nor_torchs_own_draws(tmp_path: Path) -> None:
    base = save_model(LlamaForSequenceClassification, llama_config(), tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(base)
    stored = load_file(tmp_path / "model.safetensors")
    torch.manual_seed(3)
    expected = torch.randn(2)
    torch.manual_seed(3)
    assert draw_missing(model, ["score.weight", "model.rotary_emb.inv_freq"], base) == ("score.weight",)
    assert torch.equal(torch.randn(2), expected)
    found = parameters(model)
    assert not torch.equal(found["score.weight"], stored["score.weight"])
    assert all(torch.equal(found[name], stored[name]) for name in stored if name != "score.weight")
    weights = Weights(resolve_model(base), CpuDevice())
    weights.base(deploying())
    assert weights.noticed() == Noticed(None, None)


@pytest.mark.parametrize(
    ("dropped", "told"),
    [
        ("layers.1.", "model.layers.1.input_layernorm.weight, model.layers.1.mlp.down_proj.weight, "),
        ("embed_tokens", "no model.embed_tokens.weight, which config.json asks for"),
        ("model.norm", "no model.norm.weight, which config.json asks for"),
    ],
)
def test_a_base_without_a_part_of_its_encoder_is_refused(dropped: str, told: str, tmp_path: Path) -> None:
    base = save_model(LlamaForSequenceClassification, llama_config(), tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if dropped not in k}, file, {"format": "pt"})
    with pytest.raises(InputError) as caught:
        Weights(resolve_model(base), CpuDevice()).base(deploying())
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"{base}: the weights have no model.")
    assert str(caught.value).endswith("; the files are incomplete, or of another model")
    assert ("and 6 more" in str(caught.value)) == (dropped == "layers.1.")


@pytest.mark.parametrize("made", [LlamaForSequenceClassification, LlamaForCausalLM, LlamaModel])
def test_a_base_of_more_layers_than_its_configuration_is_refused(made: Any, tmp_path: Path) -> None:
    """transformers leaves them out: a part of the model would be measured."""
    base = save_model(made, llama_config(num_hidden_layers=3), tmp_path)
    llama_config(num_hidden_layers=2).save_pretrained(base)
    with pytest.raises(InputError) as caught:
        Weights(resolve_model(base), CpuDevice()).base(deploying())
    assert "layers.2.input_layernorm.weight, " in str(caught.value)
    assert " and 6 more, further layers than config.json asks for; " in str(caught.value)


@pytest.mark.parametrize("made", [LlamaModel, LlamaForSequenceClassification])
def test_a_language_model_without_its_head_is_refused(made: Any, tmp_path: Path) -> None:
    """A head drawn at random would say nothing; that of a tied model is its embedding."""
    base = save_model(made, llama_config(), tmp_path / "base")
    with pytest.raises(InputError) as caught:
        Weights(resolve_model(base, "CAUSAL_LM"), CpuDevice()).base(deploying())
    assert str(caught.value) == (
        f"{base}: the weights have no lm_head.weight, without which a language model says nothing; give one saved from "
        "AutoModelForCausalLM"
    )
    tied = save_model(made, llama_config(tie_word_embeddings=True), tmp_path / "tied")
    weights = Weights(resolve_model(tied, "CAUSAL_LM"), CpuDevice())
    model: Any = weights.base(deploying())
    assert weights.noticed() == Noticed(None, None)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert torch.equal(model.lm_head.weight, stored_embedding(tied))


def stored_embedding(folder: str) -> torch.Tensor:
    stored = load_file(Path(folder, "model.safetensors"))
    return next(weight for name, weight in stored.items() if name.endswith("embed_tokens.weight"))


def test_a_head_that_is_not_the_embedding_stays_its_own_though_the_configuration_ties_them(tmp_path: Path) -> None:
    base = save_model(LlamaForCausalLM, llama_config(), tmp_path)
    llama_config(tie_word_embeddings=True).save_pretrained(base)
    model: Any = Weights(resolve_model(base, "CAUSAL_LM"), CpuDevice()).base(deploying())
    stored = load_file(tmp_path / "model.safetensors")
    assert torch.equal(model.lm_head.weight, stored["lm_head.weight"])
    assert torch.equal(model.model.embed_tokens.weight, stored["model.embed_tokens.weight"])
    assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


@pytest.mark.parametrize("task_type", ["SEQ_CLS", "CAUSAL_LM"])
def test_weights_of_other_sizes_than_the_configurations_are_refused_with_both(task_type: Any, tmp_path: Path) -> None:
    made = LlamaForCausalLM if task_type == "CAUSAL_LM" else LlamaForSequenceClassification
    base = save_model(made, llama_config(), tmp_path)
    llama_config(vocab_size=60).save_pretrained(base)
    name = "lm_head.weight" if task_type == "CAUSAL_LM" else "model.embed_tokens.weight"
    with pytest.raises(InputError) as caught:
        Weights(resolve_model(base, task_type), CpuDevice()).base(deploying(num_labels=3))
    assert str(caught.value) == f"{base}: its {name} is 64 x 16, its config.json asks for 60 x 16: make them agree"


def test_a_parameter_that_its_class_cannot_draw_is_refused(tmp_path: Path) -> None:
    model: Any = LlamaForSequenceClassification(llama_config())
    model.extra = torch.nn.Module()
    model.extra.scale = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(InputError, match=r"/base: the weights have no extra\.scale, nor its class a rule to draw it"):
        draw_missing(model, ["extra.scale"], "/base")
