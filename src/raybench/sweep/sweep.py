"""A sweep: a plan is run from start to end, and its tables are printed."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from raybench.analysis import Tables, write_derived, write_views
from raybench.cluster import Cluster, Job
from raybench.deploy import all_traits
from raybench.machine import doctor_notice, priority_notice
from raybench.model import Recipe
from raybench.page import keep_page
from raybench.records import count
from raybench.report import (
    Screen,
    duration,
    print_line,
    print_next_commands,
    print_summary,
    run_argument,
    shell_command,
    shown_place,
)
from raybench.store import RunStore, redact_uris
from raybench.sweep.counted import planned_samples
from raybench.sweep.describe import describe
from raybench.sweep.measuring import measure
from raybench.sweep.preflight import CheckedSweep
from raybench.sweep.run_choice import check_same
from raybench.sweep.stop_signals import StopSignals


def run_sweep(sweep: CheckedSweep, console: Screen, signals: StopSignals) -> int:
    """Exit code: 0 complete, 1 something failed or is missing. Raises RaybenchError and `Stopped`."""
    started = time.monotonic()
    plan, say = sweep.plan, partial(print_line, console)

    for notice in sweep.notices:
        say(notice)
    samples = planned_samples(plan)
    say(
        f"{plan.name}: {count(len(plan.configurations), 'configuration')}, {count(len(plan.blocks), 'block')} x "
        f"{count(plan.rounds, 'round')}, {samples.words()}. Starting Ray."
    )
    say(samples.explained())
    asked = sweep.cluster
    with Cluster(
        asked.address,
        plan.accelerator_type,
        workers=asked.workers,
        workers_per_node=asked.workers_per_node,
        wait_s=asked.wait_s,
    ) as cluster:
        signals.install()  # again: ray.init replaces them
        signals.check()
        sweep.checked.check_device(cluster.device_kind)
        model = sweep.checked.model_on(cluster.device_kind)
        recipe = Recipe.of(model.name, plan) if model.kind == "preset_files" else Recipe("", (), ())
        job = Job(plan, sweep.checked.workload(model), model, recipe, cluster.device_kind)
        workers = cluster.start(model, recipe, len(plan.blocks) * plan.rounds, signals.check, say)
        names = ", ".join(sorted({w["device_name"] for w in workers}))
        say(f"{count(len(workers), 'worker')} on {names}; model {model.name}. Results: {sweep.root}")
        low = priority_notice({w["machine"]["host"]: w["machine"]["niceness"] for w in workers})
        if low is not None:
            say(low)
        ill = doctor_notice((w["machine"]["host"], w["doctor"]) for w in workers)
        if ill is not None:
            say(ill)
        ready = time.monotonic()
        with _open_store(sweep, job, workers) as store:
            if store.notice is not None:
                say(f"{store.root}: {store.notice}")
            write_views(store.root)
            measure(sweep, cluster, job, store, console, signals.check)
    measured = time.monotonic()
    tables = Tables(sweep.root)
    write_derived(tables)
    console.print()
    print_summary(tables, console, told=not sweep.resuming)  # what failed in earlier ones they have told
    say(_time_by_part(tables, time.monotonic() - started, ready - started, measured - ready))
    print_next_commands(tables.root, console)
    say(_page_line(tables, sweep.keeps_page))
    complete = tables.rows("SELECT bool_and(complete) AS complete FROM completeness")[0]["complete"]
    return 0 if complete else 1


def _open_store(sweep: CheckedSweep, job: Job, workers: list[dict[str, Any]]) -> RunStore:
    about = (sweep.plan, job.workload, job.model, workers, all_traits())
    description = describe(sweep.run_id, *about, sweep.written_from, sweep.engine_python)
    if not sweep.resuming:
        return RunStore.create(sweep.results, sweep.run_id, description)
    store = RunStore.resume(sweep.root)
    try:
        check_same(store, description)
    except BaseException:
        store.close()
        raise
    return store


def _page_line(tables: Tables, keep: bool) -> str:
    """Write the page of the run; where that fails, the run is no less measured: the line says why.

    Without ``keep`` it is the command that writes it.
    """
    again = shell_command(["raybench", "report", run_argument(shown_place(tables.root))])
    if not keep:
        return f"  {again}        all of it on one page, for a browser"
    try:
        kept = keep_page(tables)
    except Exception as error:  # noqa: BLE001  whatever a plot or a storage may raise
        why = " ".join(str(error).split()) or type(error).__name__
        return f"The page of the run could not be written: {redact_uris(why)}. {again} tries it again."
    return f"  {shell_command([run_argument(shown_place(kept))])}        all of it on one page, for a browser"


def _time_by_part(tables: Tables, total_s: float, start_s: float, run_s: float) -> str:
    row = tables.rows("FROM run_time")[0]
    load, warm, timing = row["load_s"], row["warmup_s"], row["timing_s"]
    workers = max(1, row["devices"])
    rest = max(0.0, run_s - (load + warm + timing) / workers)
    return (
        f"Time: {duration(total_s)} (start {duration(start_s)}; per worker loading {duration(load / workers)}, "
        f"warm-ups {duration(warm / workers)}, timing {duration(timing / workers)}; the rest {duration(rest)}). "
        f"Peak memory of a visit: {row['peak_mb']:,.0f} MB."
    )
