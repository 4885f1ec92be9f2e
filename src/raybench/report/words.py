"""Words of raybench's own, explained where a person meets them: what docs/words.md says of them, in short."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from raybench.report.numbers import interval

Word = Literal["block", "visit", "guest"]

_MEANINGS: Final[dict[Word, str]] = {
    "block": "configurations that are compared, side by side in one process",
    "visit": "one block in one round, in a process of its own",
    "guest": "a configuration measured in another block only to be compared with",
}


def explained(*words: Word) -> str:
    """``A block: ...; a visit: ....``, in a line."""
    found = "; ".join(f"a {word}: {_MEANINGS[word]}" for word in words)
    return f"{found[0].upper()}{found[1:]}."


NOT_ADJUSTED: Final = (
    "Intervals are of one comparison each and not adjusted, verdicts are (Holm): an interval that leaves out 0 may "
    "stand beside inconclusive, since among many comparisons some intervals do so by chance."
)


def not_adjusted(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """`NOT_ADJUSTED`, where one of the rows is such: inconclusive by nothing but the adjustment."""
    there = any(
        row["verdict"] == "inconclusive" and row["unknown"] is None and not row.get("disputed") and _leaves_out_0(row)
        for row in rows
    )
    return [NOT_ADJUSTED] if there else []


def why_disputed(paired: Mapping[str, Any]) -> str:
    """Why the means alone do not count; ``paired``: the row of the same two by the requests' own ratios."""
    own = f"request by request it is {interval(paired)}"
    if paired["verdict"] == "equivalent":
        return f"some requests make the difference of the means: {own}, within the margin"
    if paired["verdict"] in ("slower", "faster"):
        return f"some requests make the difference of the means: {own}, the opposite"
    return f"the means show it, but {own}, p {paired['p_holm']:.4f} after Holm's adjustment, which does not bear it out"


def _leaves_out_0(row: Mapping[str, Any]) -> bool:
    low, high = row["low"], row["high"]
    return low is not None and high is not None and (low > 1 or high < 1)
