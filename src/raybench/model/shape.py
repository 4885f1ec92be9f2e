"""How large a model is, by its config.json and the headers of its files: enough to estimate memory and time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, Field

from raybench.model.checkpoint_files import is_vocabulary
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
    ``matrix``: values of its largest matrix but embeddings and output; ``linear``: those of all such matrices.
    ``vocabulary``: values of its embedding of tokens.
    """

    layers: int | None
    hidden: int | None
    parameters: int | None
    active: int | None
    kv_values: int | None
    matrix: int | None
    linear: int | None
    dtype: str | None
    tied: bool | None
    vocabulary: int | None = None


def read_shape(
    config: Path | Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    task_type: TaskType = "SEQ_CLS",
) -> ModelShape:
    """The shape that a config.json and its tensors (by name, where they are at hand) say.

    ``task_type``: what the model is loaded as, which decides on its output layer. Without tensors the number of
    parameters is not known. Raises InputError where a size is no size.
    """
    if isinstance(config, Path):
        told = read_json(config, _WithText).text_config or read_json(config, _Config)
    else:
        told = _Config.model_validate(config)
    heads, hidden = told.heads, told.hidden
    head_dim = told.head_dim or (hidden // heads if hidden and heads else None)
    kv_heads = told.kv_heads or heads
    kv_values = 2 * told.layers * kv_heads * head_dim if told.layers and kv_heads and head_dim else None
    if not shapes:
        return ModelShape(told.layers, hidden, None, None, kv_values, None, None, told.dtype, told.tie_word_embeddings)
    tied = _tied(told, shapes)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    if task_type == "SEQ_CLS":  # which loads no language model's head
        sizes = {name: size for name, size in sizes.items() if not name.endswith(_HEADS)}
    asks_table = task_type == "CAUSAL_LM" and tied is True
    active = sum(round(size * _share(name, told, asks_table)) for name, size in sizes.items())
    matrix = max((size for name, size in sizes.items() if not _is_table(name)), default=None)
    linear = sum(size for name, size in sizes.items() if len(shapes[name]) == 2 and not _is_table(name))
    vocabulary = max((s for name, s in sizes.items() if is_vocabulary(name.removesuffix(".weight"))), default=None)
    whole = sum(sizes.values())
    return ModelShape(told.layers, hidden, whole, active, kv_values, matrix, linear, told.dtype, tied, vocabulary)


def llama_shapes(config: Mapping[str, Any], task_type: TaskType) -> dict[str, tuple[int, ...]] | None:
    """Shape by name of each tensor of a Llama of this configuration, without a classifier's head; None for any other.

    With the head of a language model where ``task_type`` asks for one that is not tied.
    """
    told = _Config.model_validate(config)
    hidden, inner, heads, vocabulary = told.hidden, told.inner, told.heads, told.vocab_size
    if told.model_type != "llama" or not (hidden and inner and heads and vocabulary and told.layers):
        return None
    head_dim = told.head_dim or hidden // heads
    outputs, kept = heads * head_dim, (told.kv_heads or heads) * head_dim
    layer: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj": (outputs, hidden),
        "self_attn.k_proj": (kept, hidden),
        "self_attn.v_proj": (kept, hidden),
        "self_attn.o_proj": (hidden, outputs),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for number in range(told.layers):
        found |= {f"model.layers.{number}.{name}.weight": shape for name, shape in layer.items()}
    found["model.norm.weight"] = (hidden,)
    if task_type == "CAUSAL_LM" and not told.tie_word_embeddings:
        found["lm_head.weight"] = (vocabulary, hidden)
    return found


def _share(name: str, told: _Config, asks_table: bool) -> float:
    """Of a tensor what one token asks: of a table a row, unless it is the output as well; of experts a few."""
    if _is_table(name) and not name.endswith(_HEADS):
        return 1.0 if asks_table and is_vocabulary(name.removesuffix(".weight")) else 0.0
    if ".experts." in name and told.experts and told.experts_used:
        return min(1.0, told.experts_used / told.experts)
    return 1.0


def _is_table(name: str) -> bool:
    """Whether it has a row for each token or position: an embedding, or a language model's head."""
    module = name.removesuffix(".weight")
    return "embed" in name or module.endswith("wpe") or is_vocabulary(module)


def _tied(told: _Config, shapes: Mapping[str, tuple[int, ...]]) -> bool | None:
    if told.tie_word_embeddings is not None:
        return told.tie_word_embeddings
    if any(name.endswith(_HEADS) for name in shapes):
        return False
    return True if any(name.endswith(_CAUSAL) for name in told.architectures or ()) else None
