"""Making a run of known latencies: real visits, recorder, store and tables; only the device's time is made up."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

from fake_device import FakeDevice
from raybench.analysis.tables import _KEPT, Views, make_kept, write_views
from raybench.cluster.agenda import Agenda, Job
from raybench.deploy.strategies import all_traits
from raybench.model.prepare import Recipe
from raybench.model.weights import ModelSpec
from raybench.model.workload import GlueLengths
from raybench.plan.plan import Plan
from raybench.store.location import Location
from raybench.store.store import RunStore
from raybench.sweep.describe import describe
from raybench.sweep.recorder import Recorder
from raybench.visit.messages import Died, Failed, Finished
from raybench.visit.visit import run_visit

MODEL = ModelSpec("micro", "preset_device")
NO_RECIPE = Recipe("", (), ())
OF_THE_MACHINE = dict.fromkeys(
    ("processor_ns", "steal_ns", "others_cpu_ns", "throttled_ns", "swapped_bytes", "findings"), None
)
"""What befalls the machine that runs the tests meanwhile, of a visit whose times are made up: nothing."""
AT_THE_END = 1e9
"""Seconds between commits: all visits but the first, which a recorder commits at once, are one."""


def job_of(plan: Plan) -> Job:
    return Job(plan, GlueLengths(0), MODEL, NO_RECIPE, "cpu")


def measure(
    plan: Plan,
    results: Location,
    run_id: str = "run",
    devices: int = 1,
    new_device: Callable[[], Any] = FakeDevice,
    visits: int | None = None,
    interval_s: float = AT_THE_END,
    on: Mapping[str, int] | None = None,
) -> Any:
    """Run every visit of ``plan``, or the first few, in this process: round r on device r modulo ``devices``.

    ``on``: the device of a block whose visits are all on one. ``interval_s``: between commits; 0: each visit is one.

    Returns where the run is: a path for one in a folder.
    """
    job = job_of(plan)
    description = describe(run_id, plan, job.workload, MODEL, [], all_traits())
    with RunStore.create(results, run_id, description) as store:
        write_views(store.root)
        _go_on(job, store, devices, new_device, visits, interval_s, on or {})
        return store.root


def go_on(plan: Plan, root: Location, visits: int | None = None, interval_s: float = AT_THE_END) -> None:
    """Resume the run at ``root`` and measure what is left, or some of it, as a sweep does."""
    with RunStore.resume(root) as store:
        store.verify()
        _go_on(job_of(plan), store, 1, FakeDevice, visits, interval_s, {})


def _go_on(
    job: Job,
    store: RunStore,
    devices: int,
    new_device: Callable[[], Any],
    visits: int | None,
    interval_s: float,
    on: Mapping[str, int],
) -> None:
    agenda, recorder = Agenda(job, store.committed()), Recorder(store, interval_s=interval_s)
    for _ in range(len(agenda) if visits is None else visits):
        if (spec := agenda.next()) is None:
            break
        device = new_device()
        device.identity = f"fake-{on.get(spec.block, spec.round % devices)}"
        # A device whose time is made up cannot be calibrated, and finds that out by making all that calibrating takes.
        # No garbage disturbs it either: looking for that was six sevenths of a run's processor time.
        with mock.patch("raybench.visit.turns.gc.collect", return_value=0):
            for message in run_visit(dataclasses.replace(spec, calibrates=False), device, lambda index: None):
                if isinstance(message, Finished):
                    message = Finished(message.row | OF_THE_MACHINE)
                recorder.add(spec, message)
                if isinstance(message, Failed | Died) and message.configuration:
                    agenda.drop(message.configuration)
    recorder.commit()


def judge_anew(views: Views) -> None:
    """Where a view over the samples has been changed: what is kept of other views, and what statistics make of them."""
    for file in (file for file in _KEPT if file != "raw"):
        make_kept(views.connection, file)
    views.judge()
