"""Adapters from files: every weight accounted for, whatever is resident already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    GPT2ForSequenceClassification,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from model.small_checkpoints import adapter_at, bert_config, gpt2_config, llama_config, logits, save_adapter, save_model
from raybench.model.adapters import is_zero, load_adapter, lora_layers, without_low_rank
from raybench.records import InputError


@pytest.fixture
def base(tmp_path: Path) -> str:
    return save_model(LlamaForSequenceClassification, llama_config(), tmp_path / "base")


def opened(base: str) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(base).eval()


def put(model: Any, path: str, name: str = "mine") -> Any:
    stated = adapter_at(path, name, r=None, alpha=None, target_modules=None)
    return load_adapter(model, stated, path, autocast_adapter_dtype=True).eval()


def refused(model: Any, path: str, name: str = "mine") -> str:
    with pytest.raises(InputError) as caught:
        put(model, path, name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("made", "config", "targets"),
    [
        (LlamaForSequenceClassification, llama_config(), ["q_proj", "embed_tokens"]),
        (BertForSequenceClassification, bert_config(), ["query", "dense"]),
        (GPT2ForSequenceClassification, gpt2_config(), ["c_attn"]),
    ],
)
def test_an_adapter_that_fits_computes_what_peft_computes(
    made: Any, config: Any, targets: list[str], tmp_path: Path
) -> None:
    base = save_model(made, config, tmp_path / "base")
    paths = [save_adapter(base, tmp_path / str(seed), seed=seed, target_modules=targets) for seed in (0, 1)]
    model = put(put(opened(base), paths[0], "first"), paths[1], "second")
    for name, path in zip(("first", "second"), paths, strict=True):
        model.set_adapter(name, inference_mode=True)
        assert torch.equal(logits(model), logits(peft.PeftModel.from_pretrained(opened(base), path)))
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("resident", [False, True])
def test_an_adapter_saved_from_the_model_without_its_head_is_refused(resident: bool, base: str, tmp_path: Path) -> None:
    """PEFT loads none of it, and goes on."""
    bare = save_adapter(base, tmp_path / "bare", AutoModel)
    model = opened(base)
    if resident:
        model = put(model, save_adapter(base, tmp_path / "fits"), "fits")
    assert refused(model, bare) == (
        f"adapter mine in {bare} does not fit the model: of its weights 8 that the model needs are not in its file "
        "(model.layers.0.self_attn.q_proj.lora_A.mine.weight, model.layers.0.self_attn.q_proj.lora_B.mine.weight, "
        "model.layers.0.self_attn.v_proj.lora_A.mine.weight and 5 more) and 8 of its file have no place in the model "
        "(layers.0.self_attn.q_proj.lora_A.weight, layers.0.self_attn.q_proj.lora_B.weight, "
        "layers.0.self_attn.v_proj.lora_A.weight and 5 more); "
        "it must be saved from a model of the same class, layers and sizes"
    )


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize(
    ("layers", "part"),
    [
        (1, "4 that the model needs are not in its file (model.layers.1.self_attn.q_proj.lora_A.mine.weight, "),
        (3, "4 of its file have no place in the model (model.layers.2.self_attn.q_proj.lora_A.weight, "),
    ],
)
def test_an_adapter_of_a_base_with_fewer_or_more_layers_is_refused(
    layers: int, part: str, resident: bool, base: str, tmp_path: Path
) -> None:
    other = save_model(LlamaForSequenceClassification, llama_config(num_hidden_layers=layers), tmp_path / "other")
    path = save_adapter(other, tmp_path / "adapter")
    model = opened(base)
    if resident:
        model = put(model, save_adapter(base, tmp_path / "fits"), "fits")
    message = refused(model, path)
    assert part in message
    assert message.count(" weights ") == 1
    assert "that the model needs" in message or layers == 3


def test_an_adapter_of_other_sizes_or_labels_is_refused_in_one_line(base: str, tmp_path: Path) -> None:
    for change in ({"hidden_size": 32}, {"num_labels": 3}):
        other = save_model(LlamaForSequenceClassification, llama_config(**change), tmp_path / f"{change}")
        path = save_adapter(other, tmp_path / "adapter")
        message = refused(opened(base), path)
        assert message.startswith(f"adapter mine in {path} does not fit the model: ")
        assert "size mismatch for base_model.model." in message
        assert "\n" not in message


def test_a_file_without_the_head_that_its_configuration_names_is_refused(base: str, tmp_path: Path) -> None:
    path = save_adapter(base, tmp_path / "adapter")
    file = Path(path, "adapter_model.safetensors")
    save_file({k: v for k, v in load_file(file).items() if "score" not in k}, file, {"format": "pt"})
    assert "1 that the model needs are not in its file (score.weight)" in refused(opened(base), path)


def test_an_adapter_that_is_not_lora_or_of_another_task_is_refused_by_what_it_is(base: str, tmp_path: Path) -> None:
    peft.get_peft_model(opened(base), peft.IA3Config(task_type="SEQ_CLS")).save_pretrained(tmp_path / "ia3")
    assert refused(opened(base), str(tmp_path / "ia3")).endswith(" is IA3, not LORA; only LoRA adapters are measured")
    causal = save_model(LlamaForCausalLM, llama_config(), tmp_path / "causal")
    path = save_adapter(causal, tmp_path / "lm", AutoModelForCausalLM, task_type="CAUSAL_LM")
    assert " is for CAUSAL_LM, not SEQ_CLS; " in refused(opened(base), path)


def test_a_module_that_the_model_does_not_have_is_refused(base: str, tmp_path: Path) -> None:
    other = save_model(GPT2ForSequenceClassification, gpt2_config(), tmp_path / "other")
    path = save_adapter(other, tmp_path / "adapter", target_modules=["c_attn"])
    message = refused(opened(base), path)
    assert message.startswith(f"adapter mine in {path} does not fit the model: No modules were targeted")


def test_target_modules_are_those_of_the_file_however_long_peft_finds_the_list(tmp_path: Path) -> None:
    """It rewrites one of 20 or more as it makes the layers."""
    base = save_model(LlamaForSequenceClassification, llama_config(num_hidden_layers=3), tmp_path / "base")
    path = save_adapter(base, tmp_path / "adapter", target_modules="all-linear")
    paths = sorted(name for name, _ in opened(base).named_modules() if name.endswith("_proj"))
    assert len(paths) == 21
    file = Path(path, "adapter_config.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"target_modules": paths}))
    stated = adapter_at(path, target_modules=tuple(paths))
    model = load_adapter(opened(base), stated, path, autocast_adapter_dtype=True)
    assert len(lora_layers(model)) == 21
    with pytest.raises(InputError, match="make them agree"):
        load_adapter(opened(base), adapter_at(path, target_modules=("q_proj",)), path, autocast_adapter_dtype=True)


def test_a_name_is_given_once(base: str, tmp_path: Path) -> None:
    """PEFT would put the second one's weights under the first one's scaling."""
    path = save_adapter(base, tmp_path / "adapter")
    assert "the model already has an adapter of that name" in refused(put(opened(base), path), path)


@pytest.mark.parametrize(("first", "second"), [("task10", "task1"), ("b", "a"), ("self", "lora_A"), ("y", "1")])
def test_a_name_that_is_part_of_another_or_of_a_weights_name_is_like_any(
    first: str, second: str, base: str, tmp_path: Path
) -> None:
    """PEFT tells an adapter's weights by its name anywhere in theirs, and finds the resident one's missing."""
    paths = [save_adapter(base, tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    model = put(put(opened(base), paths[0], first), paths[1], second)
    model.set_adapter(second, inference_mode=True)
    assert torch.equal(logits(model), logits(put(opened(base), paths[1])))


@pytest.mark.parametrize("headed_first", [False, True])
def test_of_two_adapters_one_may_bring_no_head(headed_first: bool, base: str, tmp_path: Path) -> None:
    paths = {
        "headed": save_adapter(base, tmp_path / "headed"),
        "headless": save_adapter(base, tmp_path / "headless", seed=1, task_type=None),
    }
    assert "score" not in "".join(load_file(Path(paths["headless"], "adapter_model.safetensors")))
    model = opened(base)
    for name in sorted(paths, reverse=not headed_first):
        model = put(model, paths[name], name)
    for name in ("headed", "headless", "headed"):
        model.set_adapter(name, inference_mode=True)
        assert torch.equal(logits(model), logits(put(opened(base), paths[name])))


# Without


def test_without_its_low_rank_part_a_model_answers_as_its_base_under_the_adapters_head(
    base: str, tmp_path: Path
) -> None:
    path = save_adapter(base, tmp_path / "adapter")
    model = put(opened(base), path)
    expected = opened(base)
    expected.score.weight.data = load_file(Path(path, "adapter_model.safetensors"))["base_model.model.score.weight"]
    before = logits(model)
    with without_low_rank(model):
        assert torch.equal(logits(model), logits(expected))
    assert not torch.equal(before, logits(expected))
    assert torch.equal(logits(model), before)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model.active_adapters == ["mine"]


@pytest.mark.parametrize(
    ("use_dora", "init"), [(False, True), (True, True), (False, "gaussian"), (False, "orthogonal"), (False, "mica")]
)
def test_a_fresh_adapter_is_zero_and_a_trained_one_is_not(
    use_dora: bool, init: bool | str, base: str, tmp_path: Path
) -> None:
    fresh = save_adapter(base, tmp_path / "fresh", init_lora_weights=init, use_dora=use_dora)
    trained = save_adapter(base, tmp_path / "trained", use_dora=use_dora)
    model = put(put(opened(base), fresh, "fresh"), trained, "trained")
    assert is_zero(model, "fresh")
    assert not is_zero(model, "trained")
    with torch.no_grad():
        for layer in lora_layers(model)[1:]:
            layer.lora_B["trained"].weight.zero_()
    assert not is_zero(model, "trained")


def test_a_fresh_adapter_on_embeddings_is_zero(base: str, tmp_path: Path) -> None:
    targets = ["embed_tokens"]
    fresh = save_adapter(base, tmp_path / "fresh", init_lora_weights=True, target_modules=targets)
    assert is_zero(put(opened(base), fresh), "mine")
    assert not is_zero(put(opened(base), save_adapter(base, tmp_path / "b", target_modules=targets)), "mine")
