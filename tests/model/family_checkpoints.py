"""Models of every family, of a few thousand weights, each with an adapter, saved as people save them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, PreTrainedModel

from model.small_checkpoints import save_adapter
from raybench.model.families import family
from raybench.records import TaskType

_SHAPE: Mapping[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,
}
_DECODER: Mapping[str, Any] = {**_SHAPE, "num_key_value_heads": 1, "head_dim": 8}
_GPT2 = {"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.2, "pad_token_id": 0}
_DISTILBERT = {"vocab_size": 64, "dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2, "initializer_range": 0.2}
_DEBERTA = {**_SHAPE, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
_MIXTRAL = {**_DECODER, "num_local_experts": 4, "num_experts_per_tok": 2}
_QWEN3_MOE = {**_DECODER, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_GEMMA3 = {**_DECODER, "sliding_window": 8}
_VISION = {
    "text_config": _GEMMA3,
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    },
    "boi_token_index": 61,
    "eoi_token_index": 62,
    "image_token_index": 63,
    "mm_tokens_per_image": 4,
}
_TIED = {**_DECODER, "tie_word_embeddings": True}
_EXPERTS = {"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"], "target_modules": ["q_proj"]}
_EMBEDDED = {"target_modules": ["q_proj", "embed_tokens"], "save_embedding_layers": "auto"}
_HEADED = {"target_modules": ["q_proj", "lm_head"], "save_embedding_layers": "auto"}
_SHARDED = {"max_shard_size": "8KB"}


@dataclasses.dataclass(frozen=True)
class Family:
    """A base by its configuration and how it is saved, and an adapter by its settings."""

    name: str
    task_type: TaskType
    model_type: str
    shape: Mapping[str, Any]
    adapter: Mapping[str, Any]
    saved: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    dtype: str = "float32"

    def save(self, folder: Path) -> tuple[str, str]:
        """The folders of the base and of the adapter."""
        labels = {"num_labels": 3} if self.task_type == "SEQ_CLS" else {}
        config = AutoConfig.for_model(self.model_type, **self.shape, **labels)
        torch.manual_seed(0)
        model = self.auto.from_config(config, dtype=getattr(torch, self.dtype))
        base, adapter = folder / "base", folder / "adapter"
        model.save_pretrained(base, **self.saved)
        return str(base), save_adapter(str(base), adapter, self.auto, **self.adapter)

    @property
    def auto(self) -> Any:
        return family(self.task_type).auto

    def plain(self, base: str) -> PreTrainedModel:
        """The base as transformers alone opens it."""
        model: PreTrainedModel = self.auto.from_pretrained(base, dtype=torch.float32)
        return model.eval()

    def plain_peft(self, base: str, adapter: str) -> Any:
        """The adapter on it as PEFT alone opens it."""
        return peft.PeftModel.from_pretrained(self.plain(base), adapter).eval()


def _targets(*names: str) -> dict[str, Any]:
    return {"target_modules": list(names)}


CLASSIFIERS = (
    Family("bert", "SEQ_CLS", "bert", _SHAPE, _targets("query", "dense")),
    Family("distilbert", "SEQ_CLS", "distilbert", _DISTILBERT, _targets("q_lin", "lin1")),
    Family("roberta", "SEQ_CLS", "roberta", {**_SHAPE, "pad_token_id": 1}, _targets("query", "value")),
    Family("deberta", "SEQ_CLS", "deberta", _DEBERTA, _targets("in_proj")),
    Family("deberta-v2", "SEQ_CLS", "deberta-v2", _DEBERTA, _targets("query_proj", "value_proj")),
    Family("gpt2", "SEQ_CLS", "gpt2", _GPT2, _targets("c_attn", "c_proj")),
    Family("llama", "SEQ_CLS", "llama", _DECODER, _targets("q_proj", "v_proj"), _SHARDED),
    Family("llama-embedded", "SEQ_CLS", "llama", _DECODER, _EMBEDDED),
    Family("qwen3", "SEQ_CLS", "qwen3", _DECODER, {"target_modules": "all-linear"}, dtype="bfloat16"),
    Family("gemma2", "SEQ_CLS", "gemma2", _DECODER, _targets("q_proj", "down_proj")),
    Family("gemma3", "SEQ_CLS", "gemma3_text", _GEMMA3, _targets("q_proj", "down_proj")),
    Family("mixtral", "SEQ_CLS", "mixtral", _MIXTRAL, _EXPERTS),
    Family("qwen3-moe", "SEQ_CLS", "qwen3_moe", _QWEN3_MOE, _EXPERTS),
)
"""Of three labels each."""

LANGUAGE_MODELS = (
    Family("gpt2", "CAUSAL_LM", "gpt2", _GPT2, _targets("c_attn", "c_proj")),
    Family("gpt2-untied", "CAUSAL_LM", "gpt2", {**_GPT2, "tie_word_embeddings": False}, _targets("c_fc", "lm_head")),
    Family("gpt-neox", "CAUSAL_LM", "gpt_neox", _SHAPE, _targets("query_key_value")),
    Family("llama", "CAUSAL_LM", "llama", _DECODER, _targets("q_proj", "v_proj"), _SHARDED),
    Family("llama-embedded", "CAUSAL_LM", "llama", _DECODER, _EMBEDDED),
    Family("llama-headed", "CAUSAL_LM", "llama", _DECODER, _HEADED),
    Family("llama-tied", "CAUSAL_LM", "llama", _TIED, {"target_modules": "all-linear"}, _SHARDED, "bfloat16"),
    Family("llama-tied-embedded", "CAUSAL_LM", "llama", _TIED, _EMBEDDED),
    Family("llama-tied-headed", "CAUSAL_LM", "llama", _TIED, _HEADED),
    Family("qwen3", "CAUSAL_LM", "qwen3", _DECODER, _targets("q_proj", "down_proj"), dtype="bfloat16"),
    Family("gemma", "CAUSAL_LM", "gemma", _DECODER, _targets("q_proj", "down_proj")),
    Family("gemma2", "CAUSAL_LM", "gemma2", _DECODER, _targets("q_proj", "down_proj")),
    Family("gemma3", "CAUSAL_LM", "gemma3_text", _GEMMA3, _targets("q_proj", "down_proj")),
    Family("gemma3-vision", "CAUSAL_LM", "gemma3", _VISION, {"target_modules": r".*language_model.*\.(q|v)_proj"}),
    Family("mixtral", "CAUSAL_LM", "mixtral", _MIXTRAL, _EXPERTS),
    Family("qwen3-moe", "CAUSAL_LM", "qwen3_moe", _QWEN3_MOE, _EXPERTS),
)
"""GPT-2 and both Gemmas are tied, as they are by themselves."""

FAMILIES = CLASSIFIERS + LANGUAGE_MODELS

_EXPERT = re.compile(r"(.*\.)experts\.(\d+)\.(\w+)\.weight$")
_FUSED = {"w1": ("gate_up_proj", 0), "w3": ("gate_up_proj", 1), "w2": ("down_proj", 0)}
_FUSED |= {"gate_proj": ("gate_up_proj", 0), "up_proj": ("gate_up_proj", 1), "down_proj": ("down_proj", 0)}


_RENAMED = (
    ("block_sparse_moe", "mlp"),
    (r"^embed_out\.", "lm_head."),
    (r"^language_model\.model\.", "model.language_model."),
    (r"^(vision_tower|multi_modal_projector)\.", r"model.\1."),
)


def weights_in(folder: str) -> dict[str, torch.Tensor]:
    """All weights of a checkpoint, by the names that transformers gives them.

    The matrices of experts lie apart in the files and are one tensor in the model; some have other names there.
    """
    stored: dict[str, torch.Tensor] = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        stored |= load_file(file)
    found: dict[str, torch.Tensor] = {}
    experts: dict[str, dict[int, dict[int, torch.Tensor]]] = {}
    for name, weight in stored.items():
        if match := _EXPERT.match(name):
            fused, part = _FUSED[match[3]]
            place = f"{match[1]}experts.{fused}".replace("block_sparse_moe", "mlp")
            experts.setdefault(place, {}).setdefault(int(match[2]), {})[part] = weight
        else:
            found[_renamed(name)] = weight
    for place, one in experts.items():
        found[place] = torch.stack([torch.cat([one[e][part] for part in sorted(one[e])]) for e in sorted(one)])
    return found


def _renamed(name: str) -> str:
    for pattern, new in _RENAMED:
        name = re.sub(pattern, new, name)
    return name
