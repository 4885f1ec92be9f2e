"""Rotary position embeddings as a Llama's config.json says them, and as llama.cpp is told them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from raybench.records import InputError


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
    """For "llama3" by what each frequency is divided, a torch tensor (head / 2,); None for other kinds.

    Long wavelengths by the factor, short ones not at all, those between by a mean that moves with the wavelength
    (transformers' ``_compute_llama3_parameters``).
    """
    import torch

    rope = rope_of(config, where)
    if rope.kind != "llama3":
        return None
    told = _told(config)
    names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    factor, low, high, trained = (_number(told.get(name), name, where) for name in names)
    made = []
    for pair in range(head // 2):
        wavelength = 2 * math.pi * rope.base ** (2 * pair / head)
        if wavelength < trained / high:
            made.append(1.0)
        elif wavelength > trained / low:
            made.append(factor)
        else:
            smooth = (trained / wavelength - low) / (high - low)
            made.append(1 / ((1 - smooth) / factor + smooth))
    return torch.tensor(made, dtype=torch.float32)


def _told(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Newer files have all in ``rope_parameters``, older ones what differs from the usual in ``rope_scaling``."""
    told = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return told if isinstance(told, dict) else {}


def _number(value: Any, name: str, where: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
        raise InputError(f"{where}: its config.json has {name} {value!r}, which is no size of a rotary embedding")
    return float(value)
