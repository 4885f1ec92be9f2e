"""Taking turns: the timed requests of one visit.

Everything that can be made before is made before: the schedule, the inputs on the device, the arrays that the
times go into. During a timed request nothing else happens; garbage collection is off throughout.
"""

from __future__ import annotations

import dataclasses
import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa

from raybench.machine import Device, Times
from raybench.model import Prompts, Request
from raybench.plan import Load
from raybench.records import Phase
from raybench.schemas import SAMPLES
from raybench.visit.orders import balanced_order
from raybench.visit.serving import Served, Told

_CLOCKS: Final = ("host", "wall", "device")
_MOST_AFTER: Final = 32
"""Answers that may be made beside one, at most, by who is under way together with it."""
_WARMUPS: Final = 2  # keeps the order of warm-ups apart from others that the same seed draws


class Serves(Protocol):
    """What serves the requests of one configuration, as `Server` does."""

    def adapter(self, request: Request) -> str | None:
        """The adapter that serves a request; None without one, or where each row has its own."""

    def rows(self, request: Request) -> tuple[str, ...] | None:
        """Whom the rows of a request are for; None where nobody need be told."""

    def serve(self, prompts: Any, device: Device, opener: bool = False, names: tuple[str, ...] | None = None) -> Served:
        """Serve one request and time it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """One configuration as measuring sees it: its requests, and what serves them, after ``switch`` where it has one.

    ``handle``: of an adapter's name what ``switch`` is called with; None: the name. Under a ``load`` the requests of a
    turn are served by ``together``, all of them in one call, which has None for those that it left out; None: one at a
    time. ``inputs``: its own, in place of the visit's; ``warmup_inputs``: of warm-ups, where these are others.
    """

    configuration: str
    server: Serves
    requests: tuple[Request, ...]
    switch: Callable[[Any], None] | None = None
    handle: Callable[[str], Any] | None = None
    load: Load | None = None
    together: Callable[[Sequence[Step]], Sequence[Served | None]] | None = None
    inputs: Mapping[tuple[str, int], Any] | None = None
    warmup_inputs: Mapping[tuple[str, int], Any] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One request of one subject, in its place in the visit."""

    subject: int
    request: Request
    phase: Phase
    turn: int


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """The visit that samples belong to."""

    visit: str
    block: str
    round: int


def schedule(
    subjects: Sequence[Subject], warmups: int, turn_requests: int, seed: Sequence[int], round_index: int = 0
) -> list[Step]:
    """Warm-ups, one of each subject in turn, then turns.

    Requests are taken in laps of ``turn_requests`` consecutive ones; in each lap every subject has one turn. The laps
    of all rounds are one series of balanced orders that ``seed`` draws (`balanced_order`): a visit begins where that of
    the round before ended. A turn begins with an opener, the request that the subject served before: caches and the
    active adapter are then as they would be had it served without a pause.

    Only what has the same load is compared, so that those of each load take their turns apart from the others; which
    load comes first changes from round to round. In a closed loop each of the requests that are under way at once has
    ``turn_requests`` in a turn; in an open loop a turn has all requests. Openers bring the load about, and more of them
    come after the timed requests, so that the last one is served under that load to its end (`_openers`).
    """
    groups: dict[Load | None, list[int]] = {}
    for s, subject in enumerate(subjects):
        groups.setdefault(subject.load, []).append(s)
    steps: list[Step] = []
    turn = 0
    loads = list(groups)
    for place in range(len(loads)):
        load = loads[(place + round_index) % len(loads)]
        members = groups[load]
        steps.extend(_warmups(subjects, members, warmups, seed, round_index))
        laps = list(_laps({s: subjects[s] for s in members}, _turn_of(load, turn_requests)))
        for s, places in _turns_of(laps, round_index, seed):
            requests = subjects[s].requests
            before, after = _openers(load, len(places), requests)
            around = len(requests)
            opening = [(places[0] - i) % around for i in range(before, 0, -1)]
            closing = [(places[-1] + i) % around for i in range(1, after + 1)]
            steps.extend(Step(s, requests[i], "opener", turn) for i in opening)
            steps.extend(Step(s, requests[i], "timed", turn) for i in places)
            steps.extend(Step(s, requests[i], "opener", turn) for i in closing)
            turn += 1
    return steps


def _warmups(
    subjects: Sequence[Subject], members: Sequence[int], warmups: int, seed: Sequence[int], round_index: int
) -> Iterator[Step]:
    order = balanced_order(len(members), round_index, [*seed, _WARMUPS])
    load = subjects[members[0]].load
    if load is None:
        for i in range(warmups):
            for at in order:
                requests = subjects[members[at]].requests
                yield Step(members[at], requests[i % len(requests)], "warmup", -1)
        return
    count = max(warmups, load.concurrency or 1) if warmups else 0
    for at in order:  # each at its load
        requests = subjects[members[at]].requests
        for i in range(count):
            yield Step(members[at], requests[i % len(requests)], "warmup", -1)


def _turn_of(load: Load | None, turn_requests: int) -> int:
    """Timed requests of a turn, at most."""
    if load is None:
        return turn_requests
    return turn_requests * load.concurrency if load.concurrency is not None else sys.maxsize


def least_before(timed: int) -> int:
    """How many openers come at a rate before ``timed`` requests at least: a quarter of them."""
    return max(1, timed // 4)


def _openers(load: Load | None, timed: int, requests: Sequence[Request]) -> tuple[int, int]:
    """How many may come before the timed requests of a turn, and how many after.

    In a closed loop as many as are under way at once, and after the timed ones as many as end while the longest answer
    is made. At a rate up to twice the timed ones, on either side; a trace is played as it is. Who asks them leaves out
    those that are not needed: once an opener has been answered before, once all timed ones have after.
    """
    if load is None:
        return 1, 0
    if load.concurrency is not None:
        tokens = [request.output_tokens for request in requests]
        longest = -(-max(tokens) // max(1, min(tokens)))
        return load.concurrency, (load.concurrency - 1) * min(longest, _MOST_AFTER)
    return (0, 0) if load.rate_per_s is None else (max(least_before(timed), 2 * timed),) * 2


_Lap = Mapping[int, Sequence[int]]
"""Of each subject that takes part in a lap, the places of its requests in its own list."""


def _laps(subjects: Mapping[int, Subject], turn_requests: int) -> Iterator[_Lap]:
    places = {s: {r.index: place for place, r in enumerate(subject.requests)} for s, subject in subjects.items()}
    indices = sorted(set[int]().union(*places.values()))
    for start in range(0, len(indices), turn_requests):
        asked = indices[start : start + turn_requests]
        found = {s: [of[index] for index in asked if index in of] for s, of in places.items()}
        yield {s: requests for s, requests in found.items() if requests}


def _turns_of(laps: Sequence[_Lap], round_index: int, seed: Sequence[int]) -> Iterator[tuple[int, Sequence[int]]]:
    """Who takes part in a lap is balanced among themselves, in a series of their own: guests are not in all laps."""
    of_series = Counter(tuple(lap) for lap in laps)
    places = {present: round_index * count for present, count in of_series.items()}
    for lap in laps:
        present = tuple(lap)
        for i in balanced_order(len(present), places[present], [*seed, *present]):
            yield present[i], lap[present[i]]
        places[present] += 1


class Timings:
    """Times of a visit's steps in arrays made beforehand, handed on as record batches between turns."""

    def __init__(self, steps: Sequence[Step], subjects: Sequence[Subject], identity: Identity) -> None:
        self.steps, self.subjects, self.identity = steps, subjects, identity
        n = len(steps)
        self.started_ns, self.host_ns, self.wall_ns = (np.zeros(n, np.int64) for _ in range(3))
        self.device_ns, self.switch_ns = (np.full(n, -1, np.int64) for _ in range(2))
        self.taken = np.zeros(n, np.bool_)
        self.generated: dict[int, tuple[Times, tuple[Times, ...]]] = {}
        self.told: dict[int, Told] = {}

    def keep(self, step: int, served: Served) -> None:
        """The times of one step of the schedule."""
        self.started_ns[step], self.host_ns[step], self.wall_ns[step], device_ns = served.whole
        if device_ns is not None:
            self.device_ns[step] = device_ns
        if served.prefill is not None:
            self.generated[step] = served.prefill, served.decode
        if served.told is not None:
            self.told[step] = served.told
        self.taken[step] = True

    def batch(self, first: int, end: int, origin_ns: int) -> pa.RecordBatch:
        """The samples taken from step ``first`` to before ``end``."""
        at = [i for i in range(first, end) if self.taken[i]]
        steps = [self.steps[i] for i in at]
        subjects = [self.subjects[s.subject] for s in steps]
        count = len(at)
        columns: dict[str, Any] = {
            "visit": [self.identity.visit] * count,
            "block": [self.identity.block] * count,
            "configuration": [s.configuration for s in subjects],
            "round": [self.identity.round] * count,
            "task": [s.request.task for s in steps],
            "adapter": [subject.server.adapter(s.request) for subject, s in zip(subjects, steps, strict=True)],
            "request": [s.request.index for s in steps],
            "phase": [s.phase for s in steps],
            "turn": [s.turn for s in steps],
            "sequence": at,
            "tokens": [s.request.tokens for s in steps],
            "started_ns": self.started_ns[at] - origin_ns,
            "host_ns": self.host_ns[at],
            "wall_ns": self.wall_ns[at],
            "device_ns": _nullable(self.device_ns[at]),
            "switch_ns": _nullable(self.switch_ns[at]),
            "batch": [len(s.request.prompts) for s in steps],
            **_of_generations([self.generated.pop(i, None) for i in at]),
            **_of_servers([self.told.pop(i, None) for i in at]),
        }
        return pa.record_batch([pa.array(columns[f.name], f.type) for f in SAMPLES], schema=SAMPLES)


def _of_generations(generated: Sequence[tuple[Times, tuple[Times, ...]] | None]) -> dict[str, list[Any]]:
    """The columns of what a language model generated; null for a classifier."""
    columns: dict[str, list[Any]] = {"output_tokens": [g and 1 + len(g[1]) for g in generated]}
    for clock in _CLOCKS:
        key = f"{clock}_ns"
        columns[f"prefill_{key}"] = [g and getattr(g[0], key) for g in generated]
        columns[f"decode_{key}"] = [
            None if g is None or getattr(g[0], key) is None else [getattr(step, key) for step in g[1]]
            for g in generated
        ]
    return columns


def _of_servers(told: Sequence[Told | None]) -> dict[str, list[Any]]:
    """The columns of what a server told and of how late it was asked; null where none serves."""
    return {name: [one and getattr(one, name) for one in told] for name in Told._fields}


def _nullable(values: np.ndarray[Any, np.dtype[np.int64]]) -> pa.Array:
    return pa.array(values, pa.int64(), mask=values < 0)


def take_turns(
    subjects: Sequence[Subject],
    steps: Sequence[Step],
    inputs: Mapping[tuple[str, int], Prompts],
    device: Device,
    identity: Identity,
    *,
    on_turn: Callable[[Step], None],
    on_error: Callable[[int, Exception], None],
    flush_ns: int = 500_000_000,
) -> Iterator[pa.RecordBatch]:
    """Run ``steps`` and yield their samples between turns, about every ``flush_ns``.

    ``inputs`` maps (task, request index) to the request's tensors, already on the device.
    ``on_turn(step)`` is called before each turn, with its first step, ``on_error(subject, exception)`` when a request
    raised; that subject then takes no further part.
    """
    timings = Timings(steps, subjects, identity)
    failed: set[int] = set()
    clock = device.clock
    gc.collect()
    gc.disable()
    try:
        device.synchronize()
        origin = flushed_at = clock()
        flushed = 0
        for first, end in _turns(steps):
            subject = steps[first].subject
            if subject in failed:
                continue
            on_turn(steps[first])
            try:
                _run(timings, first, end, inputs, device)
            except Exception as error:  # noqa: BLE001  whatever it is, it ends this subject only
                failed.add(subject)
                on_error(subject, error)
            if clock() - flushed_at >= flush_ns:
                yield timings.batch(flushed, end, origin)
                flushed, flushed_at = end, clock()
        yield timings.batch(flushed, len(steps), origin)
    finally:
        gc.enable()


def _turns(steps: Sequence[Step]) -> Iterator[tuple[int, int]]:
    """Ranges of consecutive steps of one subject in one turn; its warm-ups are one range."""
    first = 0
    for i in range(1, len(steps) + 1):
        if i == len(steps) or (steps[i].subject, steps[i].turn) != (steps[first].subject, steps[first].turn):
            yield first, i
            first = i


def _run(timings: Timings, first: int, end: int, inputs: Mapping[tuple[str, int], Prompts], device: Device) -> None:
    subject = timings.subjects[timings.steps[first].subject]
    if subject.together is not None:
        for i, served in zip(range(first, end), subject.together(timings.steps[first:end]), strict=True):
            if served is not None:
                timings.keep(i, served)
        return
    inputs = inputs if subject.inputs is None else subject.inputs
    if subject.warmup_inputs is not None and timings.steps[first].phase == "warmup":
        inputs = subject.warmup_inputs
    server, clock, switch, handle = subject.server, device.clock, subject.switch, subject.handle
    for i in range(first, end):
        request = timings.steps[i].request
        prompts = inputs[request.task, request.index]
        opener, names = timings.steps[i].phase == "opener", server.rows(request)
        if switch is not None and (adapter := server.adapter(request)) is not None:
            # Looked up before, as where a request comes in: of a thousand names hardly one is in a cache.
            known = adapter if handle is None else handle(adapter)
            before = clock()
            switch(known)
            device.synchronize()
            timings.switch_ns[i] = clock() - before
        timings.keep(i, server.serve(prompts, device, opener, names))
