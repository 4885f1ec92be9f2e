"""How large a model is, by its config.json and the headers of its files: enough to estimate memory and time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, Field

from raybench.model.files import FromFile, read_json
from raybench.records import TaskType

_Size = Annotated[int, Field(ge=1, le=2**40)]
_HEADS = ("lm_head.weight", "embed_out.weight")
_CAUSAL = ("ForCausalLM", "LMHeadModel")


def _key(*names: str) -> Any:
    return Field(None, validation_alias=AliasChoices(*names))


class _Config(FromFile):
    """The same sizes under the names that the kinds of model have for them."""

    model_type: str | None = None
    architectures: list[str] | None = None
    dtype: str | None = _key("dtype", "torch_dtype")
    tie_word_embeddings: bool | None = None
    vocab_size: _Size | None = None
    hidden: _Size | None = _key("hidden_size", "n_embd", "dim", "d_model")
    inner: _Size | None = _key("intermediate_size", "n_inner", "hidden_dim", "ffn_dim")
    layers: _Size | None = _key("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    heads: _Size | None = _key("num_attention_heads", "n_head", "n_heads")
    kv_heads: _Size | None = _key("num_key_value_heads")
    head_dim: _Size | None = None
    experts: _Size | None = _key("num_experts", "num_local_experts", "n_routed_experts")
    experts_used: _Size | None = _key("num_experts_per_tok", "moe_topk")


class _WithText(FromFile):
    """Of a model of text and images the part that text passes."""

    text_config: _Config | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a model; None where its files do not tell.

    ``parameters``: all weights, a tied matrix once. ``active``: those that one token passes, without the experts that
    are not asked and the rows of the embeddings. ``kv_values``: keys and values that it keeps for each token.
    ``matrix``: values of its largest matrix but embeddings and output.
    """

    layers: int | None
    hidden: int | None
    parameters: int | None
    active: int | None
    kv_values: int | None
    matrix: int | None
    dtype: str | None
    tied: bool | None


def read_shape(
    config: Path | Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    task_type: TaskType = "SEQ_CLS",
) -> ModelShape:
    """The shape that a config.json and its tensors (by name, where they are at hand) say.

    Without tensors parameters are known of a Llama only, with the output layer that ``task_type`` asks for.
    Raises InputError where a size is no size.
    """
    if isinstance(config, Path):
        told = read_json(config, _WithText).text_config or read_json(config, _Config)
    else:
        told = _Config.model_validate(config)
    heads, hidden = told.heads, told.hidden
    head_dim = told.head_dim or (hidden // heads if hidden and heads else None)
    kv_heads = told.kv_heads or heads
    kv_values = 2 * told.layers * kv_heads * head_dim if told.layers and kv_heads and head_dim else None
    if shapes:
        sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        active = sum(round(size * _share(name, told)) for name, size in sizes.items())
        inner = [size for name, size in sizes.items() if "embed" not in name and not name.endswith(_HEADS)]
        matrix, tied = max(inner, default=None), _tied(told, shapes)
        return ModelShape(told.layers, hidden, sum(sizes.values()), active, kv_values, matrix, told.dtype, tied)
    body = _llama_parameters(told, head_dim)
    embeddings = (told.vocab_size or 0) * (hidden or 0)
    head = embeddings if task_type == "CAUSAL_LM" else 0
    own_head = 0 if told.tie_word_embeddings else head
    whole = None if body is None else body + embeddings + own_head
    asked = None if body is None else body + head
    matrix = hidden * told.inner if hidden and told.inner else None
    return ModelShape(told.layers, hidden, whole, asked, kv_values, matrix, told.dtype, told.tie_word_embeddings)


def _share(name: str, told: _Config) -> float:
    """Of a tensor what one token asks: of a table a row, unless it is the output as well; of experts a few."""
    if "embed" in name and not told.tie_word_embeddings:
        return 0.0
    if ".experts." in name and told.experts and told.experts_used:
        return min(1.0, told.experts_used / told.experts)
    return 1.0


def _tied(told: _Config, shapes: Mapping[str, tuple[int, ...]]) -> bool | None:
    if told.tie_word_embeddings is not None:
        return told.tie_word_embeddings
    if any(name.endswith(_HEADS) for name in shapes):
        return False
    return True if any(name.endswith(_CAUSAL) for name in told.architectures or ()) else None


def _llama_parameters(told: _Config, head_dim: int | None) -> int | None:
    """Of a Llama of this configuration without embeddings and output layer; None for any other."""
    if told.model_type != "llama" or not (told.hidden and told.inner and told.layers and told.heads and head_dim):
        return None
    hidden, kv_heads = told.hidden, told.kv_heads or told.heads
    attention = 2 * hidden * told.heads * head_dim + 2 * hidden * kv_heads * head_dim
    layer = attention + 3 * hidden * told.inner + 2 * hidden
    return told.layers * layer + hidden
