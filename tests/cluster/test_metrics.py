"""Counters and gauges: what is counted, and under which names."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from raybench.cluster.metrics import RunMetrics
from raybench.schemas import SAMPLES
from raybench.visit.messages import Died, Failed, Finished, Loaded, Samples


class Kept:
    """Stands for Ray's metrics, whose values only its agents can read."""

    def __init__(self) -> None:
        self.counted: Counter[tuple[str, ...]] = Counter()
        self.gauges: dict[tuple[str, ...], float] = {}

    def counter(self, name: str, description: str, tag_keys: tuple[str, ...] = ()) -> Any:
        kept = self

        class One:
            def inc(self, value: float, tags: dict[str, str] | None = None) -> None:
                assert tuple(tags or ()) == tag_keys
                kept.counted[name, *(tags or {}).values()] += int(value)

        return One()

    def gauge(self, name: str, description: str, tag_keys: tuple[str, ...] = ()) -> Any:
        kept = self

        class One:
            def set(self, value: float, tags: dict[str, str] | None = None) -> None:
                assert tuple(tags or ()) == tag_keys
                kept.gauges[name, *(tags or {}).values()] = value

        return One()


def test_messages_are_counted() -> None:
    kept = Kept()
    metrics = RunMetrics(kept.counter, kept.gauge)
    nulls = [pa.nulls(3, field.type) for field in SAMPLES]
    for message in (
        Samples(pa.RecordBatch.from_arrays(nulls, names=SAMPLES.names)),
        Failed("c", "gate", "wrong"),
        Loaded({}),
        Finished({}),
        Finished({}),
        Died(None, "worker_lost", "gone", "a", "GPU-0"),
    ):
        metrics.count(message)
    assert kept.counted == {
        ("raybench_samples",): 3,
        ("raybench_failures", "gate"): 1,
        ("raybench_visits", "finished"): 2,
        ("raybench_visits", "worker_lost"): 1,
    }


def test_gauges_are_set_once_a_second() -> None:
    kept, now = Kept(), [0.0]
    metrics = RunMetrics(kept.counter, kept.gauge, lambda: now[0])
    metrics.show(waiting=9, busy=3, idle=1, starting=2)
    assert kept.gauges == {
        ("raybench_visits_waiting",): 9,
        ("raybench_workers", "busy"): 3,
        ("raybench_workers", "idle"): 1,
        ("raybench_workers", "starting"): 2,
        ("raybench_busy_share",): pytest.approx(0.75),
    }
    now[0] = 0.9
    metrics.show(waiting=1, busy=0, idle=0, starting=0)
    assert kept.gauges["raybench_visits_waiting",] == 9
    now[0] = 1.0
    metrics.show(waiting=1, busy=0, idle=0, starting=0)
    assert kept.gauges["raybench_visits_waiting",] == 1
    assert kept.gauges["raybench_busy_share",] == 0
