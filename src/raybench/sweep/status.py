"""``raybench status RUN``: how far a run is, from its results alone, whoever drives it and wherever."""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Literal

from raybench.records import count
from raybench.report import (
    all_of_it,
    brief_failure,
    duration,
    explained,
    run_argument,
    say,
    shell_command,
    write_json,
)
from raybench.store import Entry, Location, RunStore
from raybench.sweep.counted import Counted, timed_samples
from raybench.sweep.live import LiveReport, LiveWorker, read_report
from raybench.sweep.reading_options import StatusOptions

SILENT_S: Final = 60.0
"""A driver says what it does every few seconds; one that has not for this long is gone, or cannot write."""

State = Literal["running", "silent", "complete", "incomplete", "stopped", "failed", "not begun"]


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """What the committed entries and the driver's last word say of a run.

    ``visits_planned``: at most so many, where rounds are added ``until_halfwidth``. ``silent_s``: seconds since
    the driver's last word, None where it has said none. ``visits_per_hour``: committed since that driver began, None
    where nothing was. ``failed``: configuration and reason. ``resumable``: whether ``--resume`` would measure anything.
    ``samples``: timed ones, guests' included, of which ``guest_samples`` are theirs.
    """

    run_id: str
    plan: str
    state: State
    silent_s: float | None
    until_halfwidth: float | None
    visits_done: int
    visits_planned: int
    visits_waiting: int
    configurations_complete: int
    configurations: int
    failed: tuple[tuple[str, str], ...]
    resumable: bool
    lost_attempts: int
    samples: int
    guest_samples: int
    devices: dict[str, int]
    workers: tuple[LiveWorker, ...]
    visits_per_hour: float | None
    left_s: float | None
    ends_at: datetime.datetime | None

    @property
    def running(self) -> list[LiveWorker]:
        """The workers that are measuring."""
        return [worker for worker in self.workers if worker.state == "busy"]

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        found = dataclasses.asdict(self)
        found["workers"] = [worker.model_dump(mode="json") for worker in self.workers]
        found["failed"] = [{"configuration": name, "reason": reason} for name, reason in self.failed]
        found["ends_at"] = None if self.ends_at is None else self.ends_at.isoformat(timespec="seconds")
        return found


def read(path: Location, now: datetime.datetime | None = None) -> Status:
    """The status of the run at ``path``; ``now`` is the time at which it is looked at.

    Reads the manifest and the small tables, never the samples. Raises InputError where there is no run, StoreError
    where one of those files is damaged.
    """
    store, now = RunStore.open(path), now or datetime.datetime.now(datetime.UTC)
    description, live = store.description, read_report(store)
    plan, entries = description.plan, store.entries()
    blocks = {c.block for c in description.configurations}
    done = [key for key in store.committed() if key[0] in blocks]
    silent_s = silent_s_of(live, now)
    state = state_of(live, silent_s)
    workers = live.workers if live is not None and state == "running" else ()
    waiting = live.waiting if live is not None and state == "running" else 0
    rounds, adaptive = plan.rounds, plan.until_halfwidth is not None
    left = waiting + sum(worker.state == "busy" for worker in workers)
    if adaptive:
        left = max(0, rounds * len(blocks) - len(done))
        if state != "running":  # it planned what it has begun
            rounds = 1 + max((round_index for _, round_index in done), default=-1)
    complete = _complete(store, rounds)
    # A run until its intervals are narrow that has not ended by itself may want further rounds.
    last = plan.rounds if state != "incomplete" else rounds
    rate = None if live is None else _visits_per_hour(entries, live)
    counted = timed_samples(description, store.read("loads").to_pylist())
    left_s = 3600 * left / rate if rate and state == "running" else None
    return Status(
        run_id=description.run_id,
        plan=plan.name,
        state=state,
        silent_s=silent_s,
        until_halfwidth=plan.until_halfwidth,
        visits_done=len(done),
        visits_planned=plan.rounds * len(blocks),
        visits_waiting=waiting,
        configurations_complete=len(complete),
        configurations=len(description.configurations),
        failed=_failed(store, complete),
        resumable=state != "complete" and _is_anything_left(store, last),
        lost_attempts=store.read("attempts").num_rows,
        samples=counted.samples,
        guest_samples=counted.of_guests,
        devices=_devices(store),
        workers=workers,
        visits_per_hour=rate,
        left_s=left_s,
        ends_at=None if left_s is None else _after(now, left_s),
    )


def silent_s_of(live: LiveReport | None, now: datetime.datetime) -> float | None:
    """Seconds since the driver's last word; None where it has said none."""
    return None if live is None else (now - live.updated_at).total_seconds()


def state_of(live: LiveReport | None, silent_s: float | None) -> State:
    """What a run's driver is doing, or how it ended, by its last word and how long ago that was."""
    if live is None:
        return "not begun"
    if live.state == "running" and silent_s is not None and silent_s > SILENT_S:
        return "silent"
    return live.state


def run_status(run: Location, options: StatusOptions) -> int:
    """``raybench status``: 0 whatever the state is. Raises InputError and StoreError like `read`."""
    found = read(run)
    if options.json:
        write_json(found.as_json())
    else:
        for line in _lines(found, run):
            say(line)
    return 0


def _lines(found: Status, where: Location) -> list[str]:
    """What a person reads: a few lines, and what to do next."""
    lines = [f"{found.run_id} ({found.plan}): {_state(found)}"]
    at_most = "at most " if found.until_halfwidth is not None else ""
    lines.append(
        f"Visits: {found.visits_done:,} of {at_most}{found.visits_planned:,} done, {len(found.running)} running, "
        f"{found.visits_waiting:,} waiting; "
        f"{count(found.lost_attempts, 'attempt')} lost. {Counted(found.samples, found.guest_samples).words()}."
    )
    lines.append(explained("visit", "block"))
    lines.append(
        f"Configurations: {found.configurations_complete:,} of {found.configurations:,} complete, "
        f"{len(found.failed):,} failed."
    )
    lines += [f"  {name}: {brief_failure(reason)}" for name, reason in found.failed]
    if found.failed:
        lines.append(f"  {all_of_it(where)}")
    served = ", ".join(f"{number} x {name}" for name, number in found.devices.items()) or "none yet"
    states = Counter(worker.state for worker in found.workers)
    held = ", ".join(f"{states[state]} {state}" for state in ("busy", "idle", "starting") if states[state])
    lines.append(f"Devices that have measured: {served}." + (f" Workers now: {held}." if held else ""))
    lines += [
        f"  {worker.device_name} on {worker.host}: {worker.visit} for {duration(worker.for_s or 0)}"
        for worker in found.running
    ]
    if found.visits_per_hour is not None:
        lines.append(f"Rate: {count(round(found.visits_per_hour), 'visit')} an hour" + _end(found))
    lines.append(_next(found, where))
    return lines


def _state(found: Status) -> str:
    since = "" if found.silent_s is None else f"{duration(found.silent_s)} ago"
    match found.state:
        case "running":
            return f"running (its driver wrote {since})"
        case "silent":
            return f"its driver has not written since {since}: it is gone, or cannot reach the results"
        case "not begun":
            return "not begun: its driver has not written yet"
        case _:
            return f"{found.state} ({since})"


def _end(found: Status) -> str:
    if found.left_s is None or found.ends_at is None:
        return "."
    most = "at most " if found.until_halfwidth is not None else "about "
    return f"; {most}{duration(found.left_s)} left, until {found.ends_at:%Y-%m-%d %H:%M} UTC."


def _next(found: Status, where: Location) -> str:
    tables = shell_command(["raybench", "tables", run_argument(where)])
    match found.state:
        case "complete":
            return f"Its tables: {tables}"
        case "running":
            return f"Look again later; its tables so far: {tables}"
        case _ if found.resumable:
            return f"Go on with it: the sweep's command with {shell_command(['--run-id', found.run_id, '--resume'])}"
        case _ if not found.failed:
            return f"All of it is measured. Its tables: {tables}"
        case _:
            return (
                "--resume would measure nothing more: what failed is not tried again. Mend the cause and begin a new "
                f"run; its tables: {tables}"
            )


def _complete(store: RunStore, rounds: int) -> set[str]:
    """The configurations that all ``rounds`` of their own blocks have brought up and measured."""
    loads = Counter((row["block"], row["configuration"]) for row in store.read("loads").to_pylist())
    return {c.name for c in store.description.configurations if 0 < rounds == loads[c.block, c.name]}


def _failed(store: RunStore, complete: set[str]) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for row in store.read("failures").to_pylist():
        if row["configuration"] not in complete:  # what was tried again and came through has not failed
            found.setdefault(row["configuration"], f"{row['kind']}: {row['message']}")
    return tuple(found.items())


def _is_anything_left(store: RunStore, rounds: int) -> bool:
    """Whether a visit of the first ``rounds`` is not committed whose block has a configuration that may be tried."""
    given_up = store.given_up()
    blocks = {c.block for c in store.description.configurations if c.name not in given_up}
    done = store.committed()
    return any((block, round_index) not in done for block in blocks for round_index in range(rounds))


def _after(now: datetime.datetime, seconds: float) -> datetime.datetime | None:
    """None for a time that no calendar has."""
    try:
        return now + datetime.timedelta(seconds=seconds)
    except OverflowError:
        return None


def _visits_per_hour(entries: Sequence[Entry], live: LiveReport) -> float | None:
    recent = [entry for entry in entries if entry.committed_at >= live.began_at]
    visits = sum(len(entry.visits) for entry in recent)
    if not visits:
        return None
    seconds = (max(live.updated_at, recent[-1].committed_at) - live.began_at).total_seconds()
    return 3600 * visits / seconds if seconds > 0 else None


def _devices(store: RunStore) -> dict[str, int]:
    visits = store.read("visits").to_pylist()
    return dict(Counter(name for _, name in sorted({(row["device"], row["device_name"]) for row in visits})))
