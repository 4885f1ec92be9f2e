"""What comparing two runs answers: a row for each configuration in both, and what is to be known beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from raybench.changes import Change

By = Literal["relative", "absolute"]


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration in both runs.

    ``a_ms``, ``b_ms``: mean wall time of the compared requests, milliseconds. ``reference``: the strategy that
    ``relative`` is relative to; both None where no reference is complete in both runs.
    """

    configuration: str
    deployment: str
    a_ms: float
    b_ms: float
    absolute: Change
    reference: str | None
    relative: Change | None

    def judged(self, by: By) -> Change:
        """The change that counts: by ``relative``, the absolute one where no relative one exists."""
        return self.relative if by == "relative" and self.relative is not None else self.absolute


class LeftOut(NamedTuple):
    """A configuration that is not compared, and why."""

    configuration: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunComparison:
    """B against A. ``margin`` is A's; ``differences``: in what the runs differ by description and devices."""

    a: Path
    b: Path
    margin: float
    differences: tuple[str, ...]
    notes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    rows: tuple[Row, ...]

    def with_verdict(self, verdicts: Iterable[str], by: By = "relative") -> list[Row]:
        """The rows whose change, `Row.judged` ``by``, has one of the verdicts.

        Relative and absolute changes are two families for Holm: where some rows have a relative change and others
        only an absolute one, each of the two errs with the probability that is stated.
        """
        wanted = set(verdicts)
        return [row for row in self.rows if row.judged(by).verdict in wanted]

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON values; ratios are B / A, times are milliseconds."""
        return {
            "a": str(self.a),
            "b": str(self.b),
            "margin": self.margin,
            "confidence": 0.95,
            "differences": list(self.differences),
            "notes": list(self.notes),
            "left_out": [one._asdict() for one in self.left_out],
            "rows": [
                {
                    "configuration": row.configuration,
                    "deployment": row.deployment,
                    "a_ms": row.a_ms,
                    "b_ms": row.b_ms,
                    "absolute": row.absolute.as_json(),
                    "reference": row.reference,
                    "relative": None if row.relative is None else row.relative.as_json(),
                }
                for row in self.rows
            ],
        }
