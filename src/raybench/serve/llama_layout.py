"""How llama.cpp's architecture "llama" calls the tensors of a Llama model, and orders their rows.

It rotates pairs of neighbouring values (as RoPE was published), where transformers rotates the two halves of a head:
the rows that make queries and keys change places so that both compute the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from raybench.records import InputError
from raybench.serve.checkpoints import vocabulary_size

_WHOLE: Final = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_OF_LAYER: Final = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_LAYER: Final = re.compile(r"model\.layers\.(\d+)\.([\w.]+)\.(weight|bias)")


class LlamaLayout:
    """Of a Llama model what decides how its rows are ordered. Raises InputError where it is none, or an odd one."""

    def __init__(self, config: Mapping[str, Any], where: Path) -> None:
        self.where = where
        if config.get("model_type") != "llama":
            raise InputError(f"{where}: model_type is {config.get('model_type')!r}; only llama is written as GGUF")
        if config.get("hidden_act", "silu") != "silu":
            raise InputError(f"{where}: hidden_act is {config['hidden_act']!r}; llama.cpp computes silu")
        self.hidden = self._size(config, "hidden_size")
        self.feed_forward = self._size(config, "intermediate_size")
        self.layers = self._size(config, "num_hidden_layers")
        self.heads = self._size(config, "num_attention_heads")
        self.kv_heads = self._size(config, "num_key_value_heads", self.heads)
        self.head = self._size(config, "head_dim", self.hidden // self.heads)
        self.positions = self._size(config, "max_position_embeddings")
        self.vocabulary = vocabulary_size(config, where)

    def _size(self, config: Mapping[str, Any], key: str, otherwise: int | None = None) -> int:
        value = config.get(key)
        value = otherwise if value is None else value
        if not isinstance(value, int) or not 0 < value <= 2**24:
            raise InputError(f"{self.where}: its config.json has {key} {value!r}, which is no size")
        return value

    def gguf_name(self, name: str) -> tuple[str, Callable[[Any], Any]]:
        """llama.cpp's name of a tensor, and what brings its rows in llama.cpp's order."""
        if name in _WHOLE:
            return _WHOLE[name], _same
        found = _LAYER.fullmatch(name)
        if found is None or found[2] not in _OF_LAYER or int(found[1]) >= self.layers:
            raise InputError(f"{self.where}: llama.cpp's llama has no place for {name}")
        heads = {"self_attn.q_proj": self.heads, "self_attn.k_proj": self.kv_heads}.get(found[2])
        ordered = _same if heads is None else lambda rows: _interleaved(rows, heads)
        return f"blk.{found[1]}.{_OF_LAYER[found[2]]}.{found[3]}", ordered


def _same(rows: Any) -> Any:
    return rows


def _interleaved(rows: Any, heads: int) -> Any:
    """Rows of each head (torch): first halves and second halves, one beside the other in turn."""
    size = rows.shape[0] // heads
    return rows.reshape(heads, 2, size // 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)
