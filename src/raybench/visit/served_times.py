"""From an answer of a server to the times of a sample."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from raybench.machine import Times
from raybench.serve import Answer
from raybench.visit.serving import Served, Told


def served(answer: Answer, late_ns: int | None = None) -> Served:
    """The times of an answer: of the whole until its last token, of the first token, and of each further one.

    Tokens that came together with another took no time of their own: a nanosecond, the least that can be told.
    ``late_ns``: how much later than it was due the request was sent, under a load.
    """
    assert answer.sent_ns is not None
    gaps = [after - before for before, after in itertools.pairwise(answer.token_ns)]
    counts = answer.tokens if sum(answer.tokens) == answer.generated_tokens() else _spread(answer)
    decode: list[Times] = []
    for place, count in enumerate(counts):
        at = answer.token_ns[place]
        if place:
            decode.append(_times(answer.token_ns[place - 1], max(1, gaps[place - 1])))
        decode.extend(_times(at, 1) for _ in range(count - 1))
    prefill = _times(answer.sent_ns, answer.token_ns[0] - answer.sent_ns)
    whole = _times(answer.sent_ns, answer.token_ns[-1] - answer.sent_ns)
    return Served(whole, prefill, tuple(decode), Told(late_ns, answer.prompt_tokens, answer.cached_tokens))


def _spread(answer: Answer) -> Sequence[int]:
    """Tokens of each event where the server only counts all of them: one each, what is more with the last."""
    more = answer.generated_tokens() - len(answer.token_ns)
    return [*[1] * (len(answer.token_ns) - 1), 1 + more]


def _times(started_ns: int, ns: int) -> Times:
    return Times(started_ns, ns, ns, None)
