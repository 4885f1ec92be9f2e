"""What a visit tells of itself while it runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa

from raybench.records import FailureKind


@dataclasses.dataclass(frozen=True, slots=True)
class Samples:
    """Samples taken since the last such message."""

    batch: pa.RecordBatch


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration is up: a row of the loads table."""

    row: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Counted:
    """What a configuration does: rows of the counts table."""

    rows: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Calibrated:
    """How fast the device is: a row of the calibrations table."""

    row: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """A configuration takes no further part in the visit."""

    configuration: str
    kind: FailureKind
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class Finished:
    """The visit is over: a row of the visits table."""

    row: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Died:
    """An attempt at the visit ended without finishing, on ``device`` of ``host`` as far as that is known.

    ``configuration`` is what its process was busy with, if with any.
    """

    configuration: str | None
    kind: FailureKind
    message: str
    host: str = ""
    device: str = ""


Message = Samples | Loaded | Counted | Calibrated | Failed | Finished | Died
