"""What loading says of a run: weights that were drawn at random, adapters that were left alone or are hard to tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raybench.analysis.diagnostics import Caution


def load_cautions(rows: Sequence[Mapping[str, Any]], served: bool = False) -> list[tuple[str | None, Caution]]:
    """The cautions that rows of ``loads`` give rise to, each once, with its configuration; None: of the whole run.

    Of several rows of one configuration the weakest adapter is told. ``served``: whether they are of servers, whose
    effects and tolerances are nats.
    """
    found: list[tuple[str | None, Caution]] = []
    for drawn in _distinct(rows, "random_weights"):
        whose, _, names = drawn.rpartition(": ")
        message = f"{whose} has no {names}: drawn at random, the same for all"
        hint = "times do not depend on what was drawn, answers do: none of this model's means anything"
        found.append((None, Caution("random_weights", message, hint)))
    for location in _distinct(rows, "unused_adapter"):
        message = f"{location} holds an adapter beside the model: the model was loaded without it"
        hint = "to measure an adapter, give its folder as the path of one; a full fine-tune must have it merged in"
        found.append((None, Caution("unused_adapter", message, hint)))
    weakest: dict[str, tuple[float, float]] = {}
    for row in rows:
        name, effect, tolerance = row["configuration"], row["adapter_effect"], row["gate_tolerance"]
        if effect is not None and tolerance is not None and effect <= tolerance:
            weakest[name] = min(weakest.get(name, (effect, tolerance)), (effect, tolerance))
    for name, (effect, tolerance) in weakest.items():
        message = f"an adapter changes the logits by {effect:.2g} (relative), the gate's tolerance is {tolerance:g}"
        if served:
            changes = f"an adapter changes log probabilities by {effect:.2g} nats at most"
            message = f"{changes}, the gate's tolerance is {tolerance:g}"
        hint = "the gate cannot tell whether so weak an adapter was applied: measure in float32, or one trained further"
        found.append((name, Caution("weak_adapter", message, hint)))
    return found


def _distinct(rows: Sequence[Mapping[str, Any]], column: str) -> list[str]:
    return sorted({row[column] for row in rows if row[column] is not None})
