"""Rotary position embeddings as a Llama's config.json says them, and as llama.cpp is told them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from raybench.records import InputError

_LLAMA3: Final = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


class Rope(NamedTuple):
    """``base``: theta. ``linear_factor``: positions are divided by it; None: they are not."""

    base: float
    linear_factor: float | None
    kind: str


def rope_of(config: Mapping[str, Any], where: Path) -> Rope:
    """Raises InputError where it is of a kind that is not written."""
    told = _told(config)
    kind = str(told.get("rope_type", told.get("type", "default")))
    base = _number(told.get("rope_theta", config.get("rope_theta", 10000.0)), "rope_theta", where)
    if kind not in ("default", "linear", "llama3"):
        raise InputError(f"{where}: its rotary embedding is {kind[:40]!r}; default, linear and llama3 are written")
    return Rope(base, _number(told.get("factor"), "factor", where) if kind == "linear" else None, kind)


def rope_factors(config: Mapping[str, Any], head: int, where: Path) -> Any:
    """For "llama3" what transformers divides each frequency by, a torch tensor (head / 2,); None for other kinds."""
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    rope = rope_of(config, where)
    if rope.kind != "llama3":
        return None
    told = _told(config)
    for name in _LLAMA3:
        _number(told.get(name), name, where)
    parameters = {"rope_type": rope.kind, "rope_theta": rope.base, **{name: told[name] for name in _LLAMA3}}
    positions = config.get("max_position_embeddings")
    made = LlamaConfig(head_dim=head, max_position_embeddings=positions, rope_parameters=parameters)
    plain, _ = LlamaRotaryEmbedding.compute_default_rope_parameters(made)
    return plain / LlamaRotaryEmbedding(made).inv_freq


def _told(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Newer files have all in ``rope_parameters``, older ones what differs from the usual in ``rope_scaling``."""
    told = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return told if isinstance(told, dict) else {}


def _number(value: Any, name: str, where: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
        raise InputError(f"{where}: its config.json has {name} {value!r}, which is no size of a rotary embedding")
    return float(value)
