"""What a driver keeps of a visit that is over, in bytes that Python counted."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fake_device import FakeDevice
from raybench.cluster.agenda import Agenda
from raybench.report import open_console
from raybench.store.store import RunStore
from raybench.sweep.live import Live
from raybench.sweep.progress import RunProgress
from raybench.sweep.reactions import react
from raybench.sweep.recorder import Recorder
from raybench.visit.visit import run_visit
from runs import job_of

_VISITS = 90
_MOST_BYTES = 900
"""Its name, block and round in the manifest, a file or two of the commit that it is in, and how long it took."""


def test_what_is_kept_of_a_visit_is_its_entry_in_the_manifest(
    known_latencies: Callable[..., None], load_plan: Callable[..., Any], tmp_path: Path
) -> None:
    """Of 10,000 visits 9 MB at most. Ten visits are in a commit, as those of some seconds are."""
    known_latencies(
        dict.fromkeys(("full_ft", "lora_separate", "lora_merged", "multi_lora"), lambda tokens, calls: (1, 2, None))
    )
    plan = load_plan(rounds=2 * _VISITS // 3, requests=2)
    agenda = Agenda(job_of(plan))
    now = [0.0]
    with RunStore.create(tmp_path, "run", {}) as store:
        recorder, live = Recorder(store, interval_s=10.0, clock=lambda: now[0]), Live(store, clock=lambda: now[0])
        with RunProgress(open_console(), plan.expected_samples(), plan.rounds, 0) as progress:

            def kept() -> int:
                for _ in range(_VISITS):
                    spec = agenda.next("GPU-0")
                    assert spec is not None
                    for message in run_visit(spec, FakeDevice(), lambda index: None):
                        recorder.add(spec, message)
                        react(spec, message, agenda, recorder, progress)
                    now[0] += 1.0
                    live.beat([{"state": "busy", "visit": spec.visit, "for_s": 1.0}], agenda.waiting())
                recorder.commit()
                gc.collect()
                return tracemalloc.get_traced_memory()[0]

            gc.collect()
            gc.freeze()  # each visit looks for garbage: of what the tests before left it need not
            tracemalloc.start()
            try:
                before = kept()  # what is made once, and kept, is made here
                after = kept()
            finally:
                tracemalloc.stop()
    assert 0 < (after - before) / _VISITS < _MOST_BYTES
    assert len(store.committed()) == 2 * _VISITS
