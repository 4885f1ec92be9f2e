"""Where two JSON values differ: what both a resumed run and two compared ones ask of descriptions."""

from __future__ import annotations

from typing import Any, NamedTuple


class Leaf(NamedTuple):
    """A place where two values differ, as ``plan.references[0]``, and what either has there (None: nothing)."""

    where: str
    a: Any
    b: Any


def differing(where: str, a: Any, b: Any) -> list[Leaf]:
    """The innermost places where ``a`` and ``b`` differ; lists of other lengths differ as a whole."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(a.keys() | b.keys())
        return [leaf for key in keys for leaf in differing(f"{where}.{key}", a.get(key), b.get(key))]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [leaf for i, (x, y) in enumerate(zip(a, b, strict=True)) for leaf in differing(f"{where}[{i}]", x, y)]
    return [] if a == b else [Leaf(where, a, b)]
