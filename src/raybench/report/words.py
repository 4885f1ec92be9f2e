"""Words of raybench's own, explained where a person meets them: what `docs/design.md` says of them, in short."""

from __future__ import annotations

from typing import Final, Literal

Word = Literal["block", "visit", "turn", "opener", "guest"]

_MEANINGS: Final[dict[Word, str]] = {
    "block": "configurations that are compared, side by side in one process",
    "visit": "one block in one round, in a process of its own",
    "turn": "consecutive requests of one configuration",
    "opener": "a request before a turn's timed ones, which brings caches about and is in no table",
    "guest": "a configuration in another's block, there only to be compared with",
}


def explained(*words: Word) -> str:
    """``A block: ...; a visit: ....``, in a line."""
    found = "; ".join(f"{'an' if word[0] in 'aeiou' else 'a'} {word}: {_MEANINGS[word]}" for word in words)
    return f"{found[0].upper()}{found[1:]}."
