"""What a configuration must be for the task: encoder-decoders are no model at all, encoders no language models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BertLMHeadModel,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    T5ForSequenceClassification,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from model.small_checkpoints import bert_config, deploying, llama_config, plan_of, save_adapter, save_model
from raybench.model.architecture import Architecture, check_architecture
from raybench.model.config_reader import ConfigReader
from raybench.model.prepare import check_checkpoint
from raybench.model.problems import check_files
from raybench.model.weights import ModelSpec, resolve_model
from raybench.records import InputError


def configured(model_type: str, folder: Path, **values: Any) -> str:
    AutoConfig.for_model(model_type, **values).save_pretrained(folder)
    return str(folder)


def checked(location: str, task_type: Any) -> Architecture:
    with ConfigReader() as configs:
        return check_architecture(location, task_type, configs)


def refusal(location: str, task_type: Any) -> str:
    with pytest.raises(InputError) as caught:
        checked(location, task_type)
    return str(caught.value)


@pytest.mark.parametrize("task_type", ["SEQ_CLS", "CAUSAL_LM"])
@pytest.mark.parametrize(
    "model_type",
    [
        "bart",
        "bigbird_pegasus",
        "blenderbot",
        "marian",
        "mbart",
        "mt5",
        "mvp",
        "pegasus",
        "plbart",
        "prophetnet",
        "t5",
        "t5gemma",
        "umt5",
        "whisper",
    ],
)
def test_encoder_decoders_are_not_supported(model_type: str, task_type: Any, tmp_path: Path) -> None:
    location = configured(model_type, tmp_path)
    told = f"{location}: {model_type} is an encoder-decoder; encoder-decoder models are not supported"
    assert refusal(location, task_type) == told


def test_an_encoder_decoder_is_refused_wherever_a_plan_names_it(tmp_path: Path) -> None:
    small = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": 64}
    base = save_model(T5ForSequenceClassification, AutoConfig.for_model("t5", **small), tmp_path / "t5")
    told = f"{base}: t5 is an encoder-decoder; encoder-decoder models are not supported"
    for task_type in ("SEQ_CLS", "CAUSAL_LM"):
        kind: Any = task_type
        plan = plan_of(deploying(strategy="full_ft", checkpoint=base), task_type=kind)
        assert check_files(plan, resolve_model(base, kind), None).problems == (f"the base: {told}",)
        assert check_files(plan, None, None).problems == (f"configuration chosen: {told}",)
        with pytest.raises(InputError, match="encoder-decoder models are not supported"):
            check_checkpoint(ModelSpec("t5", "checkpoint", base, kind))


@pytest.mark.parametrize(
    "model_type", ["bert", "roberta", "xlm-roberta", "camembert", "electra", "megatron-bert", "rembert", "roformer"]
)
def test_an_encoder_is_no_language_model_unless_its_configuration_makes_it_a_decoder(
    model_type: str, tmp_path: Path
) -> None:
    location = configured(model_type, tmp_path / "encoder")
    assert refusal(location, "CAUSAL_LM") == (
        f"{location}: {model_type} is an encoder, which generates nothing, unless its config.json sets is_decoder; "
        'take a decoder, or set task_type = "SEQ_CLS" in the plan'
    )
    checked(location, "SEQ_CLS")
    checked(configured(model_type, tmp_path / "decoder", is_decoder=True), "CAUSAL_LM")


@pytest.mark.parametrize("model_type", ["distilbert", "deberta-v2", "vit", "clip", "qwen2_vl", "modernbert"])
def test_a_model_that_transformers_has_no_language_model_of_is_refused(model_type: str, tmp_path: Path) -> None:
    location = configured(model_type, tmp_path)
    assert refusal(location, "CAUSAL_LM") == (
        f"{location}: transformers has no causal language model of the model type {model_type}; take another base"
    )


def test_of_all_that_generate_only_encoders_and_encoder_decoders_are_refused(tmp_path: Path) -> None:
    """Every model type of transformers that has either class, by its own default configuration."""
    refused: dict[str, set[str]] = {"encoder": set(), "encoder-decoder": set()}
    for model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        try:
            location = configured(model_type, tmp_path / model_type)
        except Exception:  # noqa: BLE001  gemma4_assistant has none that its own checks take
            continue
        try:
            checked(location, "CAUSAL_LM")
        except InputError as error:
            refused["encoder-decoder" if "encoder-decoder" in str(error) else "encoder"].add(model_type)
    both = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys() & MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.keys()
    assert refused["encoder"] - both <= {"bert-generation", "reformer"}
    assert refused["encoder"] >= {"bert", "data2vec-text", "ernie", "xmod"}
    assert refused["encoder-decoder"] >= {"bart", "musicgen", "whisper"}
    generating = {"llama", "gpt2", "gpt_neox", "gemma3", "gemma3_text", "qwen3", "qwen3_5", "mixtral", "gpt_oss", "opt"}
    assert not generating & (refused["encoder"] | refused["encoder-decoder"])


@pytest.mark.parametrize(
    ("task_type", "model_type", "values", "expected"),
    [
        ("CAUSAL_LM", "gpt2", {}, Architecture(is_tied=True, needs_padding_id=False)),
        ("CAUSAL_LM", "llama", {}, Architecture(is_tied=False, needs_padding_id=False)),
        ("CAUSAL_LM", "llama", {"tie_word_embeddings": True}, Architecture(is_tied=True, needs_padding_id=False)),
        ("SEQ_CLS", "llama", {}, Architecture(is_tied=False, needs_padding_id=True)),
        ("SEQ_CLS", "llama", {"pad_token_id": 0}, Architecture(is_tied=False, needs_padding_id=False)),
        ("SEQ_CLS", "bert", {"pad_token_id": None}, Architecture(is_tied=True, needs_padding_id=False)),
        ("SEQ_CLS", "distilbert", {"pad_token_id": None}, Architecture(is_tied=True, needs_padding_id=False)),
    ],
)
def test_what_is_told_of_an_architecture(
    task_type: Any, model_type: str, values: dict[str, Any], expected: Architecture, tmp_path: Path
) -> None:
    assert checked(configured(model_type, tmp_path, **values), task_type) == expected


def test_an_encoder_made_a_decoder_is_loaded_as_one(tmp_path: Path) -> None:
    base = save_model(BertLMHeadModel, bert_config(is_decoder=True), tmp_path / "bert")
    plan = plan_of(deploying(strategy="full_ft"), task_type="CAUSAL_LM")
    assert check_files(plan, resolve_model(base, "CAUSAL_LM"), None).problems == ()


def test_a_model_is_what_the_plan_says_whichever_class_it_was_saved_from(tmp_path: Path) -> None:
    """A language model's files make a classifier, whose head is drawn; a tied classifier's make a language model."""
    generating = save_model(LlamaForCausalLM, llama_config(), tmp_path / "lm")
    tied = save_model(LlamaForSequenceClassification, llama_config(tie_word_embeddings=True), tmp_path / "tied")
    path = save_adapter(tied, tmp_path / "a", AutoModelForCausalLM)
    for base, task_type in ((generating, "SEQ_CLS"), (generating, "CAUSAL_LM"), (tied, "CAUSAL_LM")):
        kind: Any = task_type
        plan = plan_of(deploying(strategy="full_ft"), task_type=kind)
        assert check_files(plan, resolve_model(base, kind), None).problems == ()
    assert Path(path).is_dir()
