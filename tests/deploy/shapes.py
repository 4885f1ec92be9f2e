"""Models and adapters of many shapes, each a few thousand weights, saved as people save them and deployed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MixtralConfig,
    MixtralForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from model.small_checkpoints import bert_config, gpt2_config, llama_config, save_adapter, save_model
from raybench.deploy.strategies import Deployment, LoadCosts, deploy
from raybench.machine.device import CpuDevice
from raybench.model.weights import Weights, resolve_model
from raybench.plan.plan import Adapter, Configuration
from raybench.records import TaskType

_SPREAD = {"initializer_range": 0.2}
_WIDE = {"hidden_size": 64, "intermediate_size": 128, "initializer_range": 0.02}
"""As wide as 4-bit kernels take, which work on 32 or 64 weights at once."""
_LLAMA = llama_config(**_SPREAD).to_diff_dict()


def _like_llama(made: Any, **changes: Any) -> Any:
    known = {k: v for k, v in _LLAMA.items() if k not in ("model_type", "transformers_version", "dtype")}
    return made(**known | changes)


SHAPES: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaForSequenceClassification, llama_config(**_SPREAD)),
    "bert": (BertForSequenceClassification, bert_config()),
    "roberta": (RobertaForSequenceClassification, _like_llama(RobertaConfig)),
    "gpt2": (GPT2ForSequenceClassification, gpt2_config(**_SPREAD)),
    "llama-wide": (LlamaForSequenceClassification, llama_config(**_WIDE)),
    "llama-wide-lm": (LlamaForCausalLM, llama_config(**_WIDE)),
    "bert-wide": (BertForSequenceClassification, bert_config(**_WIDE)),
    "roberta-wide": (RobertaForSequenceClassification, _like_llama(RobertaConfig, **_WIDE)),
    "gpt2-wide-lm": (GPT2LMHeadModel, gpt2_config(n_embd=64)),
    "llama-lm": (LlamaForCausalLM, llama_config(attention_bias=True, **_SPREAD)),
    "llama-lm-tied": (LlamaForCausalLM, llama_config(tie_word_embeddings=True, **_SPREAD)),
    "gpt2-lm": (GPT2LMHeadModel, gpt2_config(**_SPREAD)),
    "gemma3-lm": (Gemma3ForCausalLM, _like_llama(Gemma3TextConfig, head_dim=8, tie_word_embeddings=True)),
    "mixtral-lm": (MixtralForCausalLM, _like_llama(MixtralConfig, num_local_experts=4)),
}
"""By name the class and the configuration. Those whose name has ``lm`` are causal language models."""


def save_shape(shape: str, folder: Path) -> str:
    made, config = SHAPES[shape]
    return save_model(made, config, folder)


def task_type(shape: str) -> TaskType:
    return "CAUSAL_LM" if "lm" in shape.split("-") else "SEQ_CLS"


def save_adapter_of(shape: str, base: str, folder: Path, seed: int = 0, **settings: Any) -> str:
    """As trained on the whole model: its task type unless ``settings`` say otherwise."""
    made = AutoModelForCausalLM if task_type(shape) == "CAUSAL_LM" else AutoModelForSequenceClassification
    return save_adapter(base, folder, made, seed, **{"task_type": task_type(shape)} | settings)


def read_from(path: str, name: str) -> Adapter:
    """An adapter of which the plan says nothing but where it is; its task has its name."""
    return Adapter(name, name, 0, None, None, None, path)


def weights_of(base: str, shape: str) -> Weights:
    return Weights(resolve_model(base, task_type(shape)), CpuDevice())


def up(configuration: Configuration, base: str, shape: str) -> Deployment:
    weights = weights_of(base, shape)
    return deploy(configuration, weights, LoadCosts(weights.device))


def rows(count: int = 4, tokens: int = 12) -> dict[str, torch.Tensor]:
    """A batch of ``count`` prompts without padding, each other ids."""
    ids = torch.randint(1, 64, (count, tokens), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def answers(deployment: Deployment, inputs: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
    """Logits of every row (and position)."""
    with torch.inference_mode():
        found: torch.Tensor = deployment.forward(**inputs or rows()).logits
    return found


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm())


def renamed(configuration: Configuration, **changes: Any) -> Configuration:
    return dataclasses.replace(configuration, **changes)
