"""The requests of one turn under a load: so many at all times, or each at its moment."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raybench.plan import Load
from raybench.records import RaybenchError
from raybench.serve import closed_loop, gamma_arrivals, open_loop, run_on_time
from raybench.visit.engine_server import EngineServer, first_failure
from raybench.visit.served_prompt import ServedPrompt
from raybench.visit.served_times import served
from raybench.visit.serving import Served
from raybench.visit.turns import least_before

_CONNECTIONS: Final = 64
"""Opened before an open loop, at most; where more are needed they are opened when they are."""


def arrivals(load: Load, count: int, seed: Sequence[int], round_index: int) -> NDArray[np.int64]:
    """When each of ``count`` requests of a turn in an open loop comes, in nanoseconds from its start, shape (count,).

    Of a rate they are drawn from ``seed`` and the round alone, so that they are the same for all that is compared; of a
    trace those of the file. Raises RaybenchError where a trace has fewer.
    """
    if load.rate_per_s is not None:
        drawn = zlib.crc32(f"{list(seed)} {round_index} {load.name}".encode())
        return gamma_arrivals(load.rate_per_s, load.burstiness, count, drawn)
    if len(load.offsets_ns) < count:
        raise RaybenchError(f"{load.trace}: it has {len(load.offsets_ns)} arrivals, and a turn {count} requests")
    return np.array(load.offsets_ns[:count], np.int64)


def served_under(
    load: Load,
    server: EngineServer,
    prompts: Sequence[tuple[ServedPrompt, str | None]],
    offsets_ns: NDArray[np.int64] | None,
    counted: range,
) -> list[Served | None]:
    """Ask for ``prompts``, each by its adapter, as ``load`` has them come; ``offsets_ns``: of an open loop.

    ``counted``: the places of those that are timed; None of the others for such as were not needed (`closed_loop`).
    Raises RaybenchError where one of the answers is not whole, and how many are not.
    """
    line = server.line
    requests = [line.asked(prompt, prompt.output_tokens, adapter) for prompt, adapter in prompts]
    if offsets_ns is None:
        assert load.concurrency is not None
        work = closed_loop(line.server.endpoint, requests, load.concurrency, line.limits, counted=counted)
    else:
        # A server that closes each after its answer would have them all idle beside those that are asked.
        connections = min(len(requests), _CONNECTIONS) if line.server.endpoint.keep_alive else 0
        least = min(counted.start, least_before(len(counted)))
        work = open_loop(
            line.server.endpoint,
            requests,
            offsets_ns,
            connections,
            line.limits,
            counted=counted,
            least_before=least,
        )
    outcomes = run_on_time(work).outcomes
    if (failure := first_failure(line, [outcome.answer for outcome in outcomes])) is not None:
        raise failure
    found: list[Served | None] = [None] * len(prompts)
    for outcome in outcomes:
        server.check_whole(outcome.answer, prompts[outcome.place][0].output_tokens)
        found[outcome.place] = served(outcome.answer, outcome.late_ns)
    return found
