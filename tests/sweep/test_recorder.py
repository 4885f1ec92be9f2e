"""From messages to committed rows."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fake_device import FakeDevice
from raybench.cluster.agenda import Agenda
from raybench.plan.plan import Plan
from raybench.store.store import RunStore, StoreError
from raybench.sweep.recorder import Recorder
from raybench.visit.messages import Calibrated, Counted, Died, Failed, Finished, Message, Samples
from raybench.visit.spec import VisitSpec
from raybench.visit.visit import run_visit
from runs import job_of

Known = Callable[..., None]


@pytest.fixture
def visits(known_latencies: Known, load_plan: Callable[..., Plan]) -> list[tuple[VisitSpec, list[Message]]]:
    cost = lambda tokens, calls: (1, 2, None)  # noqa: E731
    known_latencies(dict.fromkeys(("full_ft", "lora_separate", "lora_merged", "multi_lora"), cost))
    agenda = Agenda(job_of(load_plan()))
    return [(spec, list(run_visit(spec, FakeDevice(), lambda i: None))) for spec in iter(agenda.next, None)]


def test_the_first_visit_is_committed_at_once_and_later_ones_together_when_the_interval_has_passed(
    visits: list[tuple[VisitSpec, list[Message]]], tmp_path: Path
) -> None:
    now = [0.0]
    with RunStore.create(tmp_path, "run", {}) as store:
        recorder = Recorder(store, interval_s=5.0, clock=lambda: now[0])
        recorder.commit()  # of nothing: it puts nothing off
        first, messages = visits[0]
        for message in messages[:-1]:
            recorder.add(first, message)
        assert store.entries() == []
        recorder.add(first, messages[-1])
        assert store.committed() == {(first.block, first.round)}
        now[0] = 4.9
        for spec, messages in visits[1:3]:
            for message in messages:
                recorder.add(spec, message)
        assert len(store.entries()) == 1
        now[0] = 5.0
        recorder.add(visits[3][0], visits[3][1][0])
        assert store.committed() == {(spec.block, spec.round) for spec, _ in visits[:3]}
        assert len(store.entries()) == 2
        for message in visits[3][1][1:]:
            recorder.add(visits[3][0], message)
        assert len(store.entries()) == 2
        recorder.commit()
        recorder.commit()
        assert len(store.entries()) == 3
        assert store.read("samples").num_rows == sum(
            m.batch.num_rows for _, messages in visits[:4] for m in messages if isinstance(m, Samples)
        )


@pytest.mark.parametrize("at_once", ["each", "some", "all"])
def test_samples_are_kept_in_the_order_of_visits_however_many_are_numbered_at_once(
    at_once: str, visits: list[tuple[VisitSpec, list[Message]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [pa.Table.from_batches([m.batch for m in messages if isinstance(m, Samples)]) for _, messages in visits]
    sizes = sorted(table.num_rows for table in sent)
    assert sizes[0] < sizes[-1]  # so that some wait before one that need not
    monkeypatch.setattr(
        "raybench.sweep.recorder._NUMBERED_AT_ONCE", {"each": 1, "some": sizes[-1], "all": sum(sizes) + 1}[at_once]
    )
    with RunStore.create(tmp_path, "run", {}) as store:
        recorder = Recorder(store, interval_s=1e9)
        for spec, messages in visits:
            for message in messages:
                recorder.add(spec, message)
        recorder.commit()
        assert store.read("samples").equals(pa.concat_tables(sent))


@pytest.mark.parametrize("batches", [1, 2])
def test_what_waits_to_be_committed_holds_no_message(
    batches: int, visits: list[tuple[VisitSpec, list[Message]]], tmp_path: Path
) -> None:
    """Messages lie in Ray's object store, which has no room for all of an interval's."""
    spec, messages = visits[0]
    batch = next(m.batch for m in messages if isinstance(m, Samples))
    numbers = np.arange(batch.num_rows, dtype=np.int64)
    sent = batch.set_column(
        batch.schema.get_field_index("started_ns"), batch.schema.field("started_ns"), pa.array(numbers)
    )
    held = weakref.ref(numbers)
    with RunStore.create(tmp_path, "run", {}) as store:
        recorder = Recorder(store)
        for message in (Samples(sent.slice(0, 1)), Samples(sent.slice(1))) if batches == 2 else (Samples(sent),):
            recorder.add(spec, message)
        del numbers, sent, message
        assert held() is not None
        recorder.add(spec, messages[-1])
        assert held() is None
        recorder.commit()
        assert store.read("samples")["started_ns"].to_pylist() == list(range(batch.num_rows))


def test_counts_and_calibrations_are_kept_but_not_of_a_configuration_that_failed(
    visits: list[tuple[VisitSpec, list[Message]]], tmp_path: Path
) -> None:
    spec, messages = visits[0]
    calibrated = [m.row for m in messages if isinstance(m, Calibrated)]
    counted = [row for m in messages if isinstance(m, Counted) for row in m.rows]
    assert len(calibrated) == 2
    assert {row["configuration"] for row in counted} == {c.name for c in spec.configurations}
    failed = spec.configurations[0].name
    with RunStore.create(tmp_path, "run", {}) as store:
        recorder = Recorder(store, interval_s=0.0)
        recorder.add(spec, Failed(failed, "error", "no"))
        for message in messages:
            recorder.add(spec, message)
        assert store.read("calibrations").to_pylist() == calibrated
        assert store.read("counts").to_pylist() == [row for row in counted if row["configuration"] != failed]
        assert store.read("counts").num_rows < len(counted)


def test_a_visit_that_died_leaves_nothing(visits: list[tuple[VisitSpec, list[Message]]], tmp_path: Path) -> None:
    spec, messages = visits[0]
    with RunStore.create(tmp_path, "run", {}) as store:
        recorder = Recorder(store)
        for message in messages[:-1]:
            recorder.add(spec, message)
        recorder.add(spec, Died("lora_mrpc_seed42", "killed", "signal SIGKILL"))
        recorder.fail(spec, "lora_mrpc_seed42", "killed", "signal SIGKILL")
        recorder.commit()
        assert store.committed() == set()
        assert store.read("samples").num_rows == 0
        (failure,) = store.read("failures").to_pylist()
        assert (failure["configuration"], failure["kind"], failure["attempt"]) == ("lora_mrpc_seed42", "killed", 0)


def test_samples_of_a_configuration_that_failed_in_the_visit_are_left_out(
    visits: list[tuple[VisitSpec, list[Message]]], tmp_path: Path
) -> None:
    spec, messages = visits[0]
    with RunStore.create(tmp_path, "run", {}) as store:
        recorder = Recorder(store)
        for message in messages[:-1]:
            recorder.add(spec, message)
        recorder.add(spec, Failed("lora_mrpc_seed42", "error", "no"))
        recorder.add(spec, messages[-1])
        recorder.commit()
        assert isinstance(messages[-1], Finished)
        assert set(store.read("samples")["configuration"].to_pylist()) == {
            "fullft_mrpc_seed42",
            "lora_merged_mrpc_seed42",
        }
        assert "lora_mrpc_seed42" not in store.read("loads")["configuration"].to_pylist()
        assert store.committed() == {("mrpc_seed42", 0)}


def test_a_latency_of_zero_is_refused_and_nothing_of_the_commit_is_visible(
    known_latencies: Known, load_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    cost = lambda tokens, calls: (0, 0, None)  # noqa: E731
    known_latencies(dict.fromkeys(("full_ft", "lora_separate", "lora_merged"), cost))
    spec = Agenda(job_of(load_plan())).next()
    assert spec is not None
    with RunStore.create(tmp_path, "run", {}) as store:
        recorder = Recorder(store)
        *messages, finished = run_visit(spec, FakeDevice(), lambda i: None)
        for message in messages:
            recorder.add(spec, message)
        with pytest.raises(StoreError, match="host_ns"):
            recorder.add(spec, finished)
        assert store.entries() == []


def test_many_small_files_become_a_few_now_and_then(
    visits: list[tuple[VisitSpec, list[Message]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raybench.store.compaction.MOST_ENTRIES", 3)
    with RunStore.create(tmp_path, "run", {}) as store:
        recorder = Recorder(store, interval_s=0.0)
        found = []
        for spec, messages in visits[:6]:
            for message in messages:
                recorder.add(spec, message)
            found.append([entry.sequence for entry in store.entries()])
        assert found == [[1], [1, 2], [3], [3, 4], [3, 4, 5], [3, 6]]
        assert store.committed() == {(spec.block, spec.round) for spec, _ in visits[:6]}
        store.verify()
        # What a reader may still be at is removed by the next compaction only.
        assert sorted(path.name for path in store.root.glob("manifest/*")) == [f"{n:08d}.json" for n in (4, 5, 6)]
        assert store.compact() is None
        assert list(store.root.glob("manifest/*")) == []


def test_a_compaction_that_cannot_be_done_ends_no_sweep(
    visits: list[tuple[VisitSpec, list[Message]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raybench.store.compaction.MOST_ENTRIES", 2)
    tried = []

    def refused(store: RunStore, *, keep_replaced: bool = False) -> None:
        tried.append(keep_replaced)
        raise StoreError("no space left")

    monkeypatch.setattr(RunStore, "compact", refused)
    with RunStore.create(tmp_path, "run", {}) as store:
        recorder = Recorder(store, interval_s=0.0)
        for spec, messages in visits[:4]:
            for message in messages:
                recorder.add(spec, message)
        assert [entry.sequence for entry in store.entries()] == [1, 2, 3, 4]
    assert tried == [True]
