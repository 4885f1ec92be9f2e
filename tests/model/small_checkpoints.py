"""Checkpoints and adapters of a few thousand weights, as transformers and PEFT save them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, BertConfig, GPT2Config, LlamaConfig

from raybench.plan.plan import Adapter, Configuration, Plan, make_blocks
from raybench.records import TaskType

_SHAPE = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "pad_token_id": 0,
}


_TASK_TYPES = {AutoModelForSequenceClassification: "SEQ_CLS", AutoModelForCausalLM: "CAUSAL_LM"}


def llama_config(**changes: Any) -> LlamaConfig:
    return LlamaConfig(**_SHAPE | {"num_key_value_heads": 2} | changes)


def bert_config(**changes: Any) -> BertConfig:
    return BertConfig(**_SHAPE | {"initializer_range": 0.2} | changes)


def gpt2_config(**changes: Any) -> GPT2Config:
    return GPT2Config(**{"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 2, "pad_token_id": 0} | changes)


def save_model(made: Any, config: Any, folder: Path, **arguments: Any) -> str:
    """Save a model of class ``made`` with seeded random weights."""
    torch.manual_seed(0)
    made(config, **arguments).save_pretrained(folder)
    return str(folder)


def save_adapter(
    base: str,
    folder: Path,
    made: Any = AutoModelForSequenceClassification,
    seed: int = 0,
    *,
    save_embedding_layers: bool | str = False,
    **changes: Any,
) -> str:
    """Save an adapter as trained on ``base`` opened as class ``made``: all of its weights are random, none is 0.

    ``save_embedding_layers``: "auto" is PEFT's own way, that saves the base's embeddings with an adapter on them.
    """
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    settings |= {"init_lora_weights": False, "task_type": _TASK_TYPES.get(made)}
    model = made.from_pretrained(base)
    torch.manual_seed(seed + 1)
    adapted = peft.get_peft_model(model, peft.LoraConfig(**settings | changes))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".modules_to_save." in name or ".trainable_tokens_delta." in name:
                parameter.add_(torch.randn_like(parameter))
    adapted.save_pretrained(folder, save_embedding_layers=save_embedding_layers)
    return str(folder)


def adapter_at(path: str | None, name: str = "mine", **changes: Any) -> Adapter:
    values = {"task": "mrpc", "seed": 0, "r": 4, "alpha": 8, "target_modules": ("q_proj", "v_proj")}
    return Adapter(name=name, path=path, **values | changes)


def deploying(*adapters: Adapter, strategy: str = "lora_separate", **changes: Any) -> Configuration:
    return Configuration("chosen", strategy, 0, tuple(a.task for a in adapters) or ("mrpc",), adapters, **changes)


def plan_of(*configurations: Configuration, task_type: TaskType = "SEQ_CLS") -> Plan:
    """The least plan that measures ``configurations``."""
    return Plan(
        name="mine",
        description="",
        design="paired",
        rounds=2,
        requests=10,
        warmups=0,
        turn_requests=1,
        workload_seed=0,
        order_seed=0,
        margin=0.02,
        references=("full_ft",),
        visit_timeout_s=60.0,
        accelerator_type=None,
        configurations=configurations,
        blocks=make_blocks(configurations, "paired"),
        comparisons=(),
        task_type=task_type,
    )


def token_ids(count: int = 12) -> torch.Tensor:
    return torch.arange(1, count + 1)[None]


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=token_ids()).logits
    return found
