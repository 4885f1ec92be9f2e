"""What the decision rule answers: which way to deploy, on how many GPUs, what binds and which numbers decide."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal


@dataclasses.dataclass(frozen=True, slots=True)
class Growth:
    """How far a way's number of GPUs goes. ``first``: what needs another GPU (or ends it) first: ``tasks`` or ``load``.

    ``tasks_at``: the number of tasks at which this many GPUs no longer do (None: none up to `needs.MOST_TASKS`).
    ``requests_per_second_above``: the load above which they no longer do.
    """

    tasks_at: int | None
    requests_per_second_above: float
    first: str


@dataclasses.dataclass(frozen=True, slots=True)
class WayResult:
    """One way to deploy, counted for the needs. Times in seconds, memory in bytes.

    ``gpus`` is None where the way is not feasible; ``why_not`` then says so. ``gpus_least``, ``gpus_most``: as many as
    the interval of its own speed allows; None: there it is not feasible. ``more_rounds``: how many would leave one
    number, if speed and spread stay as they are; 0 where there is one; None: no number of rounds would.
    ``no_interval``: why that interval is unknown (`stats.Unknown`); None where it is known.
    ``tasks_per_gpu``: that fit into memory (None: any number). ``p95_s``: what it is planned with, of a request with
    its share of switches, without waiting; ``p95_low_s``, ``p95_high_s``: where its speed is at the ends.
    ``switch_s``: what a switch takes; ``switch_is``: which of the measured ones that is, in words.
    ``requests_per_second_per_gpu``: the most that one GPU carries within the SLO. ``binds``: what another GPU less
    would break: ``memory``, ``load``, ``memory and load``, or ``nothing`` (one GPU is enough); where the way is not
    feasible ``memory``, ``slo``, or ``memory and slo``.
    ``cost_per_million_requests``: in the unit of the GPU price.
    """

    way: str
    label: str
    strategy: str
    feasible: bool
    gpus: int | None
    gpus_least: int | None
    gpus_most: int | None
    more_rounds: int | None
    no_interval: str | None
    gpus_by_memory: int | None
    gpus_by_load: int | None
    tasks_per_gpu: int | None
    bytes_each: int
    bytes_beside: int
    requests_per_second_per_gpu: float
    p95_s: float
    p95_low_s: float
    p95_high_s: float
    switch_s: float
    switch_is: str
    binds: str
    cost_per_million_requests: float | None
    growth: Growth | None
    why_not: str | None

    @property
    def is_settled(self) -> bool:
        """Whether the interval of its speed leaves one number of GPUs."""
        return self.gpus_least == self.gpus_most


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Mean wall time of one strategy against another: ratio, 95 % interval, verdict, and whether that tells them apart.

    ``through``: both were compared with this strategy and not with each other; the interval then runs from the one's
    low over the other's high to the opposite, wider than 95 %. ``disputed``: the means show it and
    request by request it is not borne out, here or in one of the two that it goes through, so it tells nothing apart.
    """

    strategy: str
    reference: str
    ratio: float
    low: float
    high: float
    verdict: str
    decides: bool
    through: str | None = None
    disputed: bool = False

    def seen_from(self, strategy: str) -> Comparison:
        """The same comparison as that of ``strategy``, one of the two, against the other."""
        if strategy == self.strategy:
            return self
        return Comparison(
            self.reference,
            self.strategy,
            1 / self.ratio,
            1 / self.high,
            1 / self.low if self.low else math.inf,
            {"slower": "faster", "faster": "slower"}.get(self.verdict, self.verdict),
            self.decides,
            self.through,
            self.disputed,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class FormGain:
    """A strategy in a further form or execution: how many times the usual's mean wall time it takes, and how to get it.

    ``deployment``, ``usual``: rows of the study's table; ``usual`` is None where the run has none. ``lacks``: why there
    is no ratio, and what brings it; None where there is one. ``ratio``, ``low``, ``high``: with its 95 % interval.
    ``settled``: whether the verdict is more than inconclusive; ``more_rounds``: how many would settle it (None: not
    known). ``no_interval``: why that is unknown (`stats.Unknown`). ``disputed``: the means alone show it.
    ``through``: both were compared with this deployment and not with each other; the interval is wider than 95 % then.
    ``mean_ms``, ``usual_ms``: what the ratio is of, where the two were compared with each other. ``compile_s``: the
    longest that compiling it took. ``round_s``: seconds that a round of the run took. ``lines``: of a person's own
    program.
    """

    deployment: str
    strategy: str
    form: str
    execution: str
    role: str
    usual: str | None
    compile_s: float | None
    lines: tuple[str, ...]
    lacks: str | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: str | None = None
    settled: bool = False
    more_rounds: int | None = None
    no_interval: str | None = None
    disputed: bool = False
    through: str | None = None
    mean_ms: float | None = None
    usual_ms: float | None = None
    round_s: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Number:
    """A measured number that the advice rests on, and the table of the run that holds it.

    ``low``, ``high``: its 95 % interval, where it has one.
    """

    what: str
    value: float
    unit: Literal["s", "bytes"]
    table: str
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Advice:
    """The answer. ``way`` is None where no way is feasible, or where ``missing`` says what the run lacks.

    ``gpus_least``, ``gpus_most``: of the way, as its interval allows (None: not feasible there). ``may_be_better``:
    ways that would be advised instead somewhere within the interval of the two. ``settled``: one number, and one way.
    ``sentence``: the advice in words. ``ways``: each way, in the order that breaks ties. ``because``: why this way.
    ``forms``: what strategies gain in further forms and executions, told also where there is no advice.
    ``cautions``: what to keep in mind. ``next_command``: what to type next.
    """

    run: str
    needs: dict[str, Any]
    measured_on: str
    measured_tasks: tuple[str, ...]
    way: str | None
    gpus: int | None
    gpus_least: int | None
    gpus_most: int | None
    may_be_better: tuple[str, ...]
    settled: bool
    sentence: str
    because: tuple[str, ...]
    ways: tuple[WayResult, ...]
    comparisons: tuple[Comparison, ...]
    numbers: tuple[Number, ...]
    forms: tuple[FormGain, ...]
    cautions: tuple[str, ...]
    missing: tuple[str, ...]
    next_command: str


def advice_to_dict(advice: Advice) -> dict[str, Any]:
    """The advice as JSON values; what is not finite is null."""
    found: dict[str, Any] = as_json(dataclasses.asdict(advice))
    return found


def as_json(value: Any) -> Any:
    """The same without tuples; what is not finite is null."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def milliseconds(seconds: float) -> str:
    """Three significant digits and more where there are more: ``40 ms``, ``5.25 ms``."""
    return f"{seconds * 1e3:.4g} ms"


def gigabytes(size: int) -> str:
    """In 10^9 bytes: ``1.13 GB``."""
    return f"{size / 1e9:.4g} GB"
