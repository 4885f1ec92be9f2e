"""From the messages of visits to committed rows: whole visits only, a few seconds' worth at a time."""

from __future__ import annotations

import dataclasses
import datetime
import math
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raybench.records import FailureKind
from raybench.schemas import ATTEMPTS, CALIBRATIONS, COUNTS, FAILURES, LOADS, SAMPLES, VISITS
from raybench.store import RunStore, StoreError, VisitKey, number_texts
from raybench.visit import Calibrated, Counted, Died, Failed, Finished, Loaded, Message, Samples, VisitSpec

_NOTHING = pa.RecordBatch.from_pylist([], SAMPLES)
_NO_SAMPLES = number_texts(SAMPLES.empty_table())

_NUMBERED_AT_ONCE = 10_000
"""Samples whose texts are numbered at once: of a visit of a few, that takes as long as Ray takes to schedule it."""


@dataclasses.dataclass(slots=True)
class _Open:
    """A visit that is still running: nothing of it is committed yet."""

    batches: list[pa.RecordBatch] = dataclasses.field(default_factory=list)
    loads: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    counts: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    calibrations: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    failed: set[str] = dataclasses.field(default_factory=set)


class Recorder:
    """Collects what visits report and commits finished ones: the first at once, then at most every ``interval_s``.

    A configuration that failed in a visit leaves no samples of that visit: a round is there whole or not at all.
    ``over`` is told of each visit that counts, once it is over: its samples, and its device.
    """

    def __init__(
        self,
        store: RunStore,
        interval_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        over: Callable[[pa.Table, str], object] = lambda samples, device: None,
    ) -> None:
        self._store, self._interval_s, self._clock, self._over = store, interval_s, clock, over
        self._open: dict[str, _Open] = {}
        self._visits: dict[tuple[str, int], dict[str, Any]] = {}
        self._samples: list[pa.Table] = []
        self._small: list[pa.Table] = []
        self._small_rows = 0
        self._loads: list[dict[str, Any]] = []
        self._counts: list[dict[str, Any]] = []
        self._calibrations: list[dict[str, Any]] = []
        self._failures: list[dict[str, Any]] = []
        self._attempts: list[dict[str, Any]] = []
        self._committed_at = -math.inf
        self._compacts = True

    def add(self, spec: VisitSpec, message: Message) -> None:
        """Take one message in; commits what is finished if no commit was within the interval. Raises StoreError."""
        visit = self._open.setdefault(spec.visit, _Open())
        match message:
            case Samples(batch):
                visit.batches.append(batch)
            case Loaded(row):
                visit.loads.append(row)
            case Counted(rows):
                visit.counts += rows
            case Calibrated(row):
                visit.calibrations.append(row)
            case Failed(configuration, kind, text):
                visit.failed.add(configuration)
                self.fail(spec, configuration, kind, text)
            case Finished(row):
                self._finish(spec, row)
            case Died():
                del self._open[spec.visit]
                self._lose(spec, message)
        if self._clock() - self._committed_at >= self._interval_s:
            self.commit()

    def fail(self, spec: VisitSpec, configuration: str, kind: FailureKind, message: str) -> None:
        """Record why a configuration ends here."""
        self._failures.append(
            {
                "visit": spec.visit,
                "block": spec.block,
                "configuration": configuration,
                "round": spec.round,
                "attempt": spec.attempt,
                "kind": kind,
                "message": message,
                "failed_at": datetime.datetime.now(datetime.UTC),
            }
        )

    def commit(self) -> None:
        """Make everything finished durable now, and many small files a few, once there are many.

        Raises StoreError; what was not committed is kept and tried again.
        """
        if not self._visits and not self._failures and not self._attempts:
            return
        self._committed_at = self._clock()
        self._number()
        tables = {
            "samples": pa.concat_tables([_NO_SAMPLES, *self._samples]),
            "visits": pa.Table.from_pylist(list(self._visits.values()), VISITS),
            "loads": pa.Table.from_pylist(self._loads, LOADS),
            "failures": pa.Table.from_pylist(self._failures, FAILURES),
            "attempts": pa.Table.from_pylist(self._attempts, ATTEMPTS),
            "counts": pa.Table.from_pylist(self._counts, COUNTS),
            "calibrations": pa.Table.from_pylist(self._calibrations, CALIBRATIONS),
        }
        keys = [
            VisitKey(visit=v["visit"], block=v["block"], round=v["round"], attempt=v["attempt"])
            for v in self._visits.values()
        ]
        self._store.commit({name: table for name, table in tables.items() if table.num_rows}, keys)
        self._visits.clear()
        for kept in (self._samples, self._loads, self._counts, self._calibrations, self._failures, self._attempts):
            kept.clear()
        if self._compacts and self._store.is_compaction_due():
            try:
                self._store.compact(keep_replaced=True)
            except StoreError:
                # Nothing depends on it. It is tried again, and said, when the sweep ends; where another driver has
                # taken the run over, the next commit says so.
                self._compacts = False

    def _lose(self, spec: VisitSpec, died: Died) -> None:
        self._attempts.append(
            {
                "visit": spec.visit,
                "block": spec.block,
                "round": spec.round,
                "attempt": spec.attempt,
                "host": died.host,
                "device": died.device,
                "kind": died.kind,
                "configuration": died.configuration,
                "message": died.message,
                "ended_at": datetime.datetime.now(datetime.UTC),
            }
        )

    def _finish(self, spec: VisitSpec, row: dict[str, Any]) -> None:
        visit = self._open.pop(spec.visit)
        if (spec.block, spec.round) in self._visits:
            return  # thought lost and measured again: the first to finish counts
        samples = pa.Table.from_batches([_NOTHING, *visit.batches], SAMPLES)
        if visit.failed:
            whole = pc.invert(pc.is_in(samples["configuration"], pa.array(sorted(visit.failed))))
            samples = samples.filter(whole)
        self._over(samples, row["device"])
        # Copied: what waits to be committed would else stay in Ray's object store, and fill it. One batch alone would
        # not be.
        if samples.num_rows >= _NUMBERED_AT_ONCE:
            self._number()
            self._samples.append(number_texts(samples).combine_chunks())
        else:
            self._small.append(samples.combine_chunks())
            self._small_rows += samples.num_rows
            if self._small_rows >= _NUMBERED_AT_ONCE:
                self._number()
        self._loads += [load for load in visit.loads if load["configuration"] not in visit.failed]
        self._counts += [row for row in visit.counts if row["configuration"] not in visit.failed]
        self._calibrations += visit.calibrations
        # Names that the agenda holds anyway: those that came with the message would be kept a second time.
        self._visits[spec.block, spec.round] = {**row, "visit": spec.visit, "block": spec.block}

    def _number(self) -> None:
        """Number the texts of small visits, of all that wait for it."""
        if self._small:
            self._samples.append(number_texts(pa.concat_tables(self._small)).combine_chunks())
            self._small.clear()
            self._small_rows = 0
