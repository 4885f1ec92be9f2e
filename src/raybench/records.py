"""The vocabulary of the rows that raybench keeps (`schemas`), errors that a person is told, how many of a thing.

No library is imported here: everything needs it, `raybench --help` too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

TaskType = Literal["SEQ_CLS", "CAUSAL_LM"]
"""What a model does, as PEFT names it: a sequence classifier, or a causal language model that generates."""

Phase = Literal["warmup", "opener", "timed"]
"""What a sample is for. Only ``timed`` samples enter the tables.

``warmup``: before the first turn. ``opener``: the first request of a turn, which meets caches that another
model filled; it repeats the request that its configuration served before. Both are kept and flagged, never mixed in.
"""

StepName = Literal["forward", "prefill", "decode"]
"""A step of a request: a classifier has one, a language model two kinds."""

Place = Literal["before", "after"]
"""When in a visit its device was calibrated: before the warm-ups, or after the last turn."""

FailureKind = Literal["error", "gate", "out_of_memory", "crashed", "killed", "timeout", "worker_lost"]
"""Why something was not measured.

Of the configuration itself, and so not tried again: ``error`` (an exception), ``gate`` (wrong logits),
``out_of_memory``, ``crashed`` (its process died of a fault of its own, as by SIGSEGV), ``timeout`` (it hung). Of what
it ran on, and so tried again a few times: ``killed`` (its process was killed from outside, as by SIGKILL),
``worker_lost`` (the worker or its node is gone).
"""

INFRASTRUCTURE: Final = frozenset({"killed", "worker_lost"})
"""The kinds of failure that say nothing of the configuration."""


def visit_name(block: str, round_index: int, attempt: int = 0) -> str:
    """The name a visit has in every row: ``mrpc_seed42/r03``, retried ``.../r03/a1``."""
    name = f"{block}/r{round_index:02d}"
    return f"{name}/a{attempt}" if attempt else name


@dataclass(frozen=True, slots=True)
class StrategyTraits:
    """What a plan needs to know of a strategy to be checked without loading it.

    ``name``: in plans; ``label``: in tables. ``mixes``: whether it serves batches whose rows are of several adapters.
    ``unquantized``: whether it serves its base unquantized, whatever the plan says of the base's quantization.
    ``answers_by_base``: whether no adapter has a part in its answers.
    ``forms``: the ways to compute it that a plan may ask for; the first is what it does unless one is asked for.
    """

    name: str
    label: str
    min_adapters: int
    max_adapters: int
    mixes: bool = False
    unquantized: bool = False
    answers_by_base: bool = False
    forms: tuple[str, ...] = ("plain",)


class RaybenchError(Exception):
    """A problem a person can act on: one line that says what, where and the remedy.

    ``exit_code`` is 2 for bad input and 1 for a run that failed. ``lines``: that line, or one for each problem.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())  # what libraries say may have many lines
        super().__init__(line)
        self.lines: tuple[str, ...] = (line,)


class InputError(RaybenchError):
    """What was asked for cannot be: a plan, a path, an option or a run that does not hold together."""

    exit_code = 2


class SeveralProblemsError(InputError):
    """Several problems of what was asked for, all found before anything slow was started; a line each."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = tuple(" ".join(line.split()) for line in lines)


class Problems:
    """Gathers what is wrong with what was asked for, so that all of it is said at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """An `InputError` raised inside is kept, and what follows the block goes on."""
        try:
            yield
        except InputError as error:
            self.found += error.lines

    def raise_if_any(self) -> None:
        """Raises `InputError` for one problem, `SeveralProblemsError` for several."""
        found = list(dict.fromkeys(self.found))
        if len(found) == 1:
            raise InputError(found[0])
        if found:
            raise SeveralProblemsError(found)


def count(number: int, noun: str) -> str:
    """``1 GPU``, ``2 GPUs``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def in_percent(share: float, digits: str = "g") -> str:
    """A share or a relative difference as people read it, by a format of numbers: 0.955 -> ``95.5 %``."""
    return f"{share * 100:{digits}} %"
