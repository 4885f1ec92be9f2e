"""Words of raybench's own, explained where a person meets them: what docs/words.md says of them, in short."""

from __future__ import annotations

from typing import Final, Literal

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
