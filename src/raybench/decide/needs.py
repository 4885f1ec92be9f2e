"""What is to be served: how many fine-tunes, how fast, at which load, on which GPUs; and how each is typed."""

from __future__ import annotations

import dataclasses
import math
import re
from decimal import Decimal
from typing import Final

from raybench.records import InputError

MOST_TASKS: Final = 10**9
"""The most fine-tunes that can be asked for."""

_BYTES: Final = {f"{p}{b}": s**i for b, s in (("B", 1000), ("iB", 1024)) for i, p in enumerate("KMGT", 1)}
_SECONDS: Final = {"us": Decimal("1e-6"), "ms": Decimal("1e-3"), "s": Decimal(1)}


@dataclasses.dataclass(frozen=True, slots=True)
class Needs:
    """What is to be served.

    ``tasks``: fine-tunes. ``requests_per_second``: over all tasks together. ``slo_p95_s``: seconds within which 95 %
    of requests must be answered, waiting and switching included. ``gpu_memory_bytes``: of one GPU, free for models.
    ``switches``: the share (0 to 1) of consecutive requests on a GPU that ask for another task than the one before;
    None takes the worst, 1. With one task there are none. ``gpu_price``: of one GPU for an hour, in any currency.

    Raises InputError where one of them cannot be.
    """

    tasks: int
    gpu_memory_bytes: int
    slo_p95_s: float
    requests_per_second: float
    switches: float | None = None
    gpu_price: float | None = None

    def __post_init__(self) -> None:
        for name in ("tasks", "gpu_memory_bytes", "slo_p95_s", "requests_per_second", "gpu_price"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} must be a finite number above 0, not {value}")
        if self.tasks != int(self.tasks) or self.tasks > MOST_TASKS:
            raise InputError(f"tasks must be a whole number from 1 to {MOST_TASKS:,}, not {self.tasks}")
        if self.gpu_memory_bytes != int(self.gpu_memory_bytes):
            raise InputError(f"gpu_memory_bytes must be a whole number of bytes, not {self.gpu_memory_bytes}")
        for name in ("tasks", "gpu_memory_bytes"):  # 24e9 is a whole number too; in answers it is to be an int
            object.__setattr__(self, name, int(getattr(self, name)))
        if round(self.slo_p95_s * 1e9) < 1:
            raise InputError(f"slo_p95_s must be at least a nanosecond, not {self.slo_p95_s}")
        if self.switches is not None and not 0 <= self.switches <= 1:
            raise InputError(f"switches must be a share from 0 to 1, not {self.switches}")

    @property
    def switch_share(self) -> float:
        """The share of requests that find another task's adapter active."""
        if self.tasks == 1:
            return 0.0
        return 1.0 if self.switches is None else self.switches


def parse_bytes(text: str, option: str = "memory") -> int:
    """``24GB`` (10^9 bytes each) or ``24GiB`` (2^30 each) as bytes. Raises InputError."""
    number, unit = _number_and_unit(text)
    if number is None or unit not in _BYTES or not (size := int(number * _BYTES[unit])):
        raise InputError(f"{option}: expected a size above 0 with its unit, as 24GB or 24GiB, not {text!r}")
    return size


def parse_seconds(text: str, option: str = "time") -> float:
    """``40ms`` or ``0.04s`` as seconds. Raises InputError."""
    number, unit = _number_and_unit(text)
    if number is None or unit not in _SECONDS or not 1e-9 <= (seconds := float(number * _SECONDS[unit])) < math.inf:
        raise InputError(
            f"{option}: expected a time with its unit, a nanosecond or more, as 40ms or 0.04s, not {text!r}"
        )
    return seconds


def parse_positive(text: str, option: str) -> float:
    """A plain number above 0. Raises InputError."""
    number, unit = _number_and_unit(text)
    if number is None or unit or not 0 < (value := float(number)) < math.inf:
        raise InputError(f"{option}: expected a number above 0, as 12.5 or 3e2, not {text!r}")
    return value


def parse_tasks(text: str, option: str = "tasks") -> int:
    """A whole number from 1. Raises InputError."""
    if not re.fullmatch(r"[0-9]{1,10}", text.strip()) or not 1 <= int(text) <= MOST_TASKS:
        raise InputError(f"{option}: expected a whole number from 1 to {MOST_TASKS:,}, not {text!r}")
    return int(text)


def parse_share(text: str, option: str) -> float:
    """``0.3`` or ``30%`` as a share from 0 to 1. Raises InputError."""
    number, unit = _number_and_unit(text)
    share = math.nan if number is None or unit not in ("", "%") else float(number / (100 if unit else 1))
    if not 0 <= share <= 1:
        raise InputError(f"{option}: expected a share from 0 to 1 or from 0% to 100%, not {text!r}")
    return share


def _number_and_unit(text: str) -> tuple[Decimal | None, str]:
    # Short on purpose: a number of a thousand digits is nothing that anyone means.
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{0,15})?(?:[eE][+-]?[0-9]{1,2})?)\s*([A-Za-z%]*)", text.strip())
    return (Decimal(found[1]), found[2]) if found else (None, "")
