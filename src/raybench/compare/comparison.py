"""What comparing two runs answers: a row for each deployment and configuration, and what is to be known beside."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from raybench.analysis import WALL
from raybench.compare.changes import Change
from raybench.compare.options import By
from raybench.store import Location


@dataclass(frozen=True, slots=True)
class Row:
    """One deployment, or one configuration, in both runs, by one measure.

    ``measure``: ``end_to_end``; of language models also ``ttft`` and ``tpot``. ``configurations``: those it averages
    (itself alone, if it is one). ``relative``: the change of its ratio to the baseline; None for the baseline itself
    and where the two were not measured together in both runs.
    """

    name: str
    measure: str
    deployment: str
    configurations: tuple[str, ...]
    absolute: Change
    relative: Change | None

    @property
    def label(self) -> str:
        """What it is called: its name, and the measure where that is not the whole request."""
        return self.name if self.measure == WALL.measure else f"{self.name} ({self.measure.upper()})"

    @property
    def a_ms(self) -> float:
        """Mean wall time of the compared requests in A, milliseconds: geometric over visits, configurations alike.

        So ``b_ms / a_ms`` is the absolute change to the last digit, which means over all samples are not.
        """
        return self.absolute.a / 1e6

    @property
    def b_ms(self) -> float:
        """The same in B."""
        return self.absolute.b / 1e6

    def judged(self, by: By) -> Change | None:
        """The change that counts."""
        return self.relative if by == "relative" else self.absolute

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON values; ratios are B / A but those to the baseline, times are milliseconds."""
        return {
            "name": self.name,
            "measure": self.measure,
            "deployment": self.deployment,
            "configurations": list(self.configurations),
            "a_ms": self.a_ms,
            "b_ms": self.b_ms,
            "a_to_baseline": None if self.relative is None else self.relative.a,
            "b_to_baseline": None if self.relative is None else self.relative.b,
            "absolute": self.absolute.as_json(),
            "relative": None if self.relative is None else self.relative.as_json(),
        }


class LeftOut(NamedTuple):
    """A configuration that is not compared, and why. ``lost``: it is complete in A and not in B."""

    configuration: str
    reason: str
    lost: bool
    ended: bool
    """Whether a failure ended it: then no --resume completes it."""


@dataclass(frozen=True, slots=True)
class RunComparison:
    """B against A. ``margin`` is A's; ``differences``: in what the runs differ by description and devices.

    ``baseline``: what relative changes are relative to, the first of the plan's references; None where there is none.
    ``baseline_label``: what tables and sentences call it. ``round_s``: seconds that a round took, of the slower run.
    """

    a: Location
    b: Location
    margin: float
    baseline: str
    baseline_label: str
    differences: tuple[str, ...]
    notes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    deployments: tuple[Row, ...]
    configurations: tuple[Row, ...]
    round_s: float | None = None

    def rows(self, each: bool = False) -> tuple[Row, ...]:
        """The deployments, or ``each`` configuration."""
        return self.configurations if each else self.deployments

    def with_verdict(self, verdicts: Iterable[str], by: By = "relative", each: bool = False) -> list[Row]:
        """The rows whose change has one of the verdicts."""
        wanted = set(verdicts)
        return [row for row in self.rows(each) if (change := row.judged(by)) is not None and change.verdict in wanted]

    def unjudged(self, by: By = "relative", each: bool = False) -> list[Row]:
        """The rows whose change has no known interval."""
        return [row for row in self.rows(each) if (change := row.judged(by)) is not None and change.unknown is not None]

    def undecidable(self, by: By = "relative", each: bool = False) -> bool:
        """Whether there are changes and no interval of any is known."""
        judged = [row for row in self.rows(each) if row.judged(by) is not None]
        return bool(judged) and len(self.unjudged(by, each)) == len(judged)

    @property
    def lost(self) -> list[LeftOut]:
        """What is complete in A and not in B."""
        return [one for one in self.left_out if one.lost]

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON values; ratios are B / A, times are milliseconds."""
        return {
            "a": str(self.a),
            "b": str(self.b),
            "margin": self.margin,
            "confidence": 0.95,
            "baseline": self.baseline,
            "differences": list(self.differences),
            "notes": list(self.notes),
            "left_out": [one._asdict() for one in self.left_out],
            "deployments": [row.as_json() for row in self.deployments],
            "configurations": [row.as_json() for row in self.configurations],
        }
