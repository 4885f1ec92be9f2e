"""Making a run of known latencies: real visits, recorder, store and tables; only the device's time is made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import FakeDevice
from raybench.agenda import Agenda, Job
from raybench.describe import describe
from raybench.models import ModelSpec
from raybench.plan import Plan
from raybench.prepare import Recipe
from raybench.recorder import Recorder
from raybench.store import RunStore
from raybench.strategies import all_traits
from raybench.tables import write_views
from raybench.visit import Died, Failed, run_visit
from raybench.workload import GlueLengths

MODEL = ModelSpec("micro", "preset_device")
NO_RECIPE = Recipe("", (), ())


def job_of(plan: Plan) -> Job:
    return Job(plan, GlueLengths(0), MODEL, NO_RECIPE, "cpu")


def measure(
    plan: Plan,
    results: Path,
    run_id: str = "run",
    devices: int = 1,
    new_device: Callable[[], Any] = FakeDevice,
) -> Path:
    """Run every visit of ``plan`` in this process, round r on device r modulo ``devices``."""
    job = job_of(plan)
    description = describe(run_id, plan, job.workload, MODEL, [], all_traits())
    with RunStore.create(results, run_id, description) as store:
        write_views(store.root)
        agenda, recorder = Agenda(job), Recorder(store, interval_s=0.0)
        while spec := agenda.next():
            device = new_device()
            device.identity = f"fake-{spec.round % devices}"
            for message in run_visit(spec, device, lambda index: None):
                recorder.add(spec, message)
                if isinstance(message, Failed | Died) and message.configuration:
                    agenda.drop(message.configuration)
        recorder.commit()
        return store.root
