"""Sizes by headers and configurations, held against models that are built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2LMHeadModel, LlamaForCausalLM, LlamaForSequenceClassification

from model.small_checkpoints import adapter_at, gpt2_config, llama_config, save_adapter, save_model
from raybench.model.checkpoint_files import CheckpointFiles
from raybench.model.hub import ModelFiles
from raybench.model.shape import ModelShape, llama_shapes, read_shape
from raybench.model.sizes import AdapterSize, adapter_size, model_shape
from raybench.model.weights import ModelSpec, build, resolve_model
from raybench.records import InputError, TaskType


def shape_at(location: str, task_type: TaskType = "CAUSAL_LM") -> ModelShape:
    files = ModelFiles()
    return read_shape(Path(location, "config.json"), CheckpointFiles.read(location, files).shapes, task_type)


@pytest.mark.parametrize(("preset", "task_type", "head"), [("micro", "SEQ_CLS", 2 * 64), ("micro-lm", "CAUSAL_LM", 0)])
def test_a_presets_parameters_are_those_that_are_built_but_for_a_classifiers_head(
    preset: str, task_type: str, head: int
) -> None:
    spec = resolve_model(preset, None)
    shape = model_shape(spec, ModelFiles())
    model = build(preset, torch.float32, "cpu", 0, task_type=spec.task_type)
    built = sum(p.numel() for p in model.parameters())
    assert spec.task_type == task_type
    assert shape.parameters is not None
    assert built - shape.parameters == head
    assert (shape.layers, shape.hidden, shape.kv_values, shape.matrix) == (8, 64, 2 * 8 * 2 * 16, 64 * 176)


@pytest.mark.parametrize("task_type", ["SEQ_CLS", "CAUSAL_LM"])
@pytest.mark.parametrize("changes", [{}, {"num_key_value_heads": 1, "head_dim": 4, "tie_word_embeddings": True}])
def test_the_tensors_of_a_llama_are_those_of_its_configuration(task_type: TaskType, changes: dict[str, Any]) -> None:
    config = llama_config(**changes)
    made = LlamaForCausalLM(config) if task_type == "CAUSAL_LM" else LlamaForSequenceClassification(config)
    built = {name: tuple(tensor.shape) for name, tensor in made.named_parameters() if name != "score.weight"}
    assert llama_shapes(config.to_dict(), task_type) == built
    assert llama_shapes({**config.to_dict(), "model_type": "qwen3"}, task_type) is None


def test_tinyllama_is_of_1_1_billion_parameters_of_which_a_token_passes_all_but_its_embeddings() -> None:
    lm = model_shape(ModelSpec("tinyllama-1.1b", "preset_device", task_type="CAUSAL_LM"), ModelFiles())
    classifier = model_shape(ModelSpec("tinyllama-1.1b", "preset_device"), ModelFiles())
    assert lm.parameters == 1_100_048_384
    assert lm.active == 1_100_048_384 - 32_000 * 2048
    assert classifier.parameters == classifier.active + 32_000 * 2048 == lm.active  # type: ignore[operator]


def test_a_checkpoint_is_as_large_as_its_tensors(tmp_path: Path) -> None:
    saved = save_model(LlamaForCausalLM, llama_config(), tmp_path / "lm")
    model = LlamaForCausalLM(llama_config())
    count = sum(p.numel() for p in model.parameters())
    assert shape_at(saved) == ModelShape(
        layers=2,
        hidden=16,
        parameters=count,
        active=count - 64 * 16,
        kv_values=2 * 2 * 2 * 8,
        matrix=16 * 32,
        linear=2 * (4 * 16 * 16 + 3 * 16 * 32),
        dtype="float32",
        tied=False,
        vocabulary=64 * 16,
    )


def test_a_tied_matrix_is_counted_once_and_asked_whole(tmp_path: Path) -> None:
    gpt2 = shape_at(save_model(GPT2LMHeadModel, gpt2_config(), tmp_path / "gpt2"))
    assert gpt2.parameters == sum(p.numel() for p in GPT2LMHeadModel(gpt2_config()).parameters())
    assert (gpt2.layers, gpt2.hidden, gpt2.kv_values, gpt2.tied) == (2, 16, 2 * 2 * 2 * 8, True)
    llama = shape_at(save_model(LlamaForCausalLM, llama_config(tie_word_embeddings=True), tmp_path / "llama"))
    assert (llama.active, llama.tied) == (llama.parameters, True)


def test_a_classifier_is_loaded_without_the_head_of_a_language_model(tmp_path: Path) -> None:
    saved = save_model(LlamaForCausalLM, llama_config(), tmp_path / "lm")
    body = sum(p.numel() for p in LlamaForCausalLM(llama_config()).model.parameters())
    shape = shape_at(saved, "SEQ_CLS")
    assert (shape.parameters, shape.active) == (body, body - 64 * 16)
    tied = shape_at(save_model(GPT2LMHeadModel, gpt2_config(), tmp_path / "gpt2"), "SEQ_CLS")
    assert tied.parameters is not None
    assert (tied.active, tied.matrix) == (tied.parameters - (64 + 1024) * 16, 16 * 64)


def test_experts_that_are_not_asked_are_not_passed() -> None:
    config = {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 1, "num_hidden_layers": 1}
    shapes = {"model.layers.0.mlp.experts.gate_up_proj": (4, 10, 10), "model.norm.weight": (10,)}
    shape = read_shape(config, shapes)
    assert (shape.parameters, shape.active) == (410, 110)


def test_the_text_part_of_a_configuration_of_several_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "both", "text_config": {"hidden_size": 8, "num_hidden_layers": 3}}))
    assert (read_shape(path).hidden, read_shape(path).layers, read_shape(path).parameters) == (8, 3, None)


def test_a_size_that_is_none_is_refused_with_its_file_and_value(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"hidden_size": "many", "num_hidden_layers": 0}))
    with pytest.raises(InputError) as caught:
        read_shape(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "'many'" in str(caught.value)


@pytest.mark.parametrize(
    ("tied", "config", "copied"),
    [
        (True, {"target_modules": ["embed_tokens"]}, 32 * 16),
        (True, {"target_modules": ["embed_tokens"], "ensure_weight_tying": True}, 0),
        (True, {"target_modules": ["q_proj"]}, 0),
        (False, {"target_modules": ["lm_head"]}, 0),
    ],
)
def test_what_a_merge_copies_of_tied_embeddings_is_known_from_the_files(
    tied: bool, config: dict[str, Any], copied: int, tmp_path: Path
) -> None:
    changes = {"tie_word_embeddings": tied, "vocab_size": 32}
    base = save_model(LlamaForCausalLM, llama_config(**changes), tmp_path / "base")
    path = save_adapter(base, tmp_path / "mine", AutoModelForCausalLM, **config)
    files = ModelFiles()
    shape = model_shape(resolve_model(base, "CAUSAL_LM"), files)
    assert adapter_size(adapter_at(path), shape, "CAUSAL_LM", files).untied == copied


def test_an_adapter_is_as_large_as_its_file_and_a_seeded_one_as_its_rank_says(tmp_path: Path) -> None:
    base = save_model(LlamaForSequenceClassification, llama_config(), tmp_path / "base")
    path, files = save_adapter(base, tmp_path / "mine"), ModelFiles()
    shape = model_shape(resolve_model(base), files)
    # r 4 on q_proj and v_proj of 2 layers, each 16 x 16, and a head of 2 x 16.
    assert adapter_size(adapter_at(path), shape, "SEQ_CLS", files) == AdapterSize(4, 4 * 4 * 32 + 32)
    assert adapter_size(adapter_at(None), shape, "SEQ_CLS", files) == AdapterSize(4, 4 * 4 * 32)
