"""How far outputs are from those they should be: the numbers that the gate judges by, and that tables show."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Fidelity:
    """Of logits against the adapter's own.

    ``error``: |a - b| / |b|. ``agreement``: share of outputs (labels; greedy tokens) whose most likely one is the same.
    ``divergence``: mean Kullback-Leibler divergence of the outputs' distributions from the adapter's own, in nats.
    """

    error: float
    agreement: float
    divergence: float


def compared(got: Any, expected: Any) -> Fidelity:
    """Of two tensors of logits of shape (outputs, choices), in float32."""
    import torch

    own, theirs = (logits.double().log_softmax(-1) for logits in (expected, got))
    divergence = (own.exp() * (own - theirs)).sum(-1).mean()
    return Fidelity(
        error=float((got - expected).norm() / expected.norm()),
        agreement=float((got.argmax(-1) == expected.argmax(-1)).double().mean()),
        divergence=float(torch.clamp(divergence, min=0)),  # which rounding can take below
    )


def worst(found: Sequence[Fidelity]) -> Fidelity | None:
    """The largest error, and the means of the others; None of none."""
    if not found:
        return None
    return Fidelity(
        max(one.error for one in found),
        sum(one.agreement for one in found) / len(found),
        sum(one.divergence for one in found) / len(found),
    )
