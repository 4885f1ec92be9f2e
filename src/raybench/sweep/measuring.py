"""The part of a sweep in which visits are measured: until none is left, intervals are narrow, or it is stopped."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

from raybench.analysis import RunningRatios, Views
from raybench.cluster import Agenda, Cluster, Job
from raybench.records import count
from raybench.report import Screen, print_line, shell_command
from raybench.store import RunStore, StoreError
from raybench.sweep.live import Live, State
from raybench.sweep.live_table import LiveTable
from raybench.sweep.looks import last_rounds
from raybench.sweep.preflight import CheckedSweep
from raybench.sweep.progress import RunProgress, can_be_drawn
from raybench.sweep.reactions import react
from raybench.sweep.recorder import Recorder
from raybench.sweep.stop_signals import Stopped


def measure(
    sweep: CheckedSweep, cluster: Cluster, job: Job, store: RunStore, console: Screen, check: Callable[[], None]
) -> None:
    """Measure what is left of the run and commit it. ``check`` raises `Stopped` once a stop signal has come.

    What is finished when it ends, in whatever way, is committed. Raises `Stopped` and RaybenchError.
    """
    plan, say = sweep.plan, partial(print_line, console)

    failed = store.given_up()
    served = [(row["block"], row["device"]) for row in store.read("visits").to_pylist()]
    agenda = Agenda(job, store.committed(), failed, served)
    if sweep.resuming:
        again = f"; {count(len(failed), 'failed configuration')} not tried again" if failed else ""
        say(f"Resuming: {count(len(store.committed()), 'visit')} done, {len(agenda):,} left{again}.")
    progress = RunProgress(
        console, plan.expected_samples(), plan.rounds, store.timed_samples(), table=_live_table(store, console)
    )
    recorder = Recorder(store, over=progress.visit)
    live = Live(store)
    state: State = "failed"

    def beat() -> None:
        live.beat(cluster.state(), agenda.waiting())
        progress.beat()
        check()

    with progress:
        try:
            for last_round in last_rounds(plan, store, say):
                agenda.last_round = last_round
                for spec, message in cluster.run(agenda, beat, progress.note):
                    recorder.add(spec, message)
                    react(spec, message, agenda, recorder, progress)
                recorder.commit()
            planned = len(plan.blocks) * (agenda.last_round + 1)
            state = "complete" if len(store.committed()) >= planned and not agenda.failed else "incomplete"
        except Stopped:
            state = "stopped"
            raise
        finally:
            if state in ("stopped", "failed"):
                # What failed may have been the commit itself: that error is the one to be told.
                with contextlib.suppress(*[StoreError] if state == "failed" else []):
                    recorder.commit()
                    _compact(store, progress.note)
                go_on = shell_command(sweep.command)
                progress.note(f"{state}; {count(len(store.committed()), 'visit')} kept. Go on: {go_on}")
            else:
                _compact(store, progress.note)
            live.end(state)


def _live_table(store: RunStore, console: Screen) -> LiveTable | None:
    """On a terminal, with what is committed already."""
    if not can_be_drawn(console):
        return None
    ratios = RunningRatios(store.document, store.description.plan)
    if store.committed():
        ratios.take_up(Views(store.root))
    return LiveTable(ratios)


def _compact(store: RunStore, note: Callable[[str], object]) -> None:
    """Nothing depends on it: what was measured is committed, and its tables are the same."""
    try:
        if (unremoved := store.compact()) is not None:
            note(f"Compacted, and some files that do not count any more are left: {unremoved}")
    except StoreError as error:
        note(f"Not compacted, which loses nothing and makes reading slow: {error}")
