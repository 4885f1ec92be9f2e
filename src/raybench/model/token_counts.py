"""How many tokens: as a plan says, fixed or drawn, the same for a request wherever it is asked for."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from raybench.plan import Lognormal

Counts = int | Sequence[int] | Lognormal
"""As a plan says them: one number, a list to draw from, or a distribution."""
TokenArray = npt.NDArray[np.int32]

_CHUNK = 8192
"""Requests whose numbers are drawn at once; another number draws other requests."""
_KEPT = 512
"""Such lots of requests that are kept, of 32 kB each: they are asked for one by one, round by round."""
_SHOWN = 100
"""Values of a list that a description has in full."""


class TokenCounts:
    """Token counts of each request of each task, drawn from ``seed``, the task's name and the request's index alone.

    ``of``: prompts and outputs are drawn apart. ``stated``: None for 0, as of a classifier's outputs.
    """

    def __init__(self, stated: Counts | None, seed: int, of: Literal["prompt", "output"]) -> None:
        self.stated, self.seed, self.stream = 0 if stated is None else stated, seed, int(of == "output")
        self._drawn: dict[tuple[str, int], TokenArray] = {}

    def at(self, task: str, index: int) -> int:
        """Of request ``index`` of ``task``."""
        if isinstance(self.stated, int):
            return self.stated
        chunk, place = divmod(index, _CHUNK)
        if (task, chunk) not in self._drawn:
            if len(self._drawn) >= _KEPT:
                self._drawn.clear()
            self._drawn[task, chunk] = self._draw(task, chunk)
        return int(self._drawn[task, chunk][place])

    def first(self, task: str, count: int) -> TokenArray:
        """Of the first ``count`` requests of ``task``, of shape (count,)."""
        if isinstance(self.stated, int):
            return np.full(count, self.stated, dtype=np.int32)
        chunks = [self._draw(task, chunk) for chunk in range(-(-count // _CHUNK))]
        return np.concatenate(chunks)[:count] if chunks else np.empty(0, dtype=np.int32)

    def describe(self, name: str) -> dict[str, Any]:
        """The entry ``name`` of a description, a long list by its hash; none where there are no tokens."""
        return {name: self._described()} if self.stated != 0 else {}

    def _described(self) -> Any:
        if isinstance(self.stated, int):
            return self.stated
        if isinstance(self.stated, Lognormal):
            return self.stated.model_dump()
        values = list(self.stated)
        if len(values) <= _SHOWN:
            return values
        digest = hashlib.sha256(json.dumps(values).encode()).hexdigest()
        return {"values": len(values), "least": min(values), "most": max(values), "sha256": digest}

    def _draw(self, task: str, chunk: int) -> TokenArray:
        rng = np.random.default_rng([self.seed, zlib.crc32(task.encode()), self.stream, chunk])
        if isinstance(self.stated, Lognormal):
            drawn = np.rint(rng.lognormal(math.log(self.stated.median), self.stated.sigma, _CHUNK))
            return np.clip(drawn, 1, self.stated.max).astype(np.int32)
        assert not isinstance(self.stated, int)
        return rng.choice(np.array(self.stated, dtype=np.int32), _CHUNK)
