"""Which run a sweep is: a new one, or one that was begun before, in which case it must have been begun alike."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from raybench.deploy import all_traits
from raybench.model import ModelSpec
from raybench.records import InputError
from raybench.store import Location, RunStore, exists_already, is_run, newest_run
from raybench.sweep.checked_plan import CheckedPlan
from raybench.sweep.describe import describe, differences
from raybench.sweep.options import SweepOptions


@dataclasses.dataclass(frozen=True, slots=True)
class RunChoice:
    """The run's name, whether it is gone on with, and what there is to say of that."""

    run_id: str
    resuming: bool
    notices: tuple[str, ...] = ()


def choose_run(checked: CheckedPlan, results: Location, options: SweepOptions) -> RunChoice:
    """What can be refused is, before Ray is started: a run that is there already, or was begun otherwise.

    Reads and checks all that is committed of a run that is gone on with. Raises InputError and StoreError.
    """
    plan, named = checked.plan, options.run_id
    new = f"{plan.name}-{datetime.datetime.now().strftime('%Y%m%d-%H%M%S')}"
    if not options.resume:
        return _new_run(results, named or new)
    run_id, notices = named, list[str]()
    if not named:
        newest, notices = newest_run(results, plan.name)
        run_id = None if newest is None else newest.run_id
    if run_id is None or (options.new_run and not is_run(results / run_id)):
        if not options.new_run:
            raise InputError(
                "; ".join([f"{results}: no run of plan {plan.name} to resume; name one by --run-id", *notices])
            )
        return _new_run(results, named or new, notices)
    with RunStore.resume(results / run_id) as store:
        notices += [] if store.notice is None else [f"{store.root}: {store.notice}"]
        model = checked.model or ModelSpec(**store.description.model.model_dump())
        described = describe(run_id, plan, checked.workload(model), model, [], all_traits())
        if options.new_run and (differing := differences(store.document, described)):
            notices.append(f"{store.root} was begun otherwise ({'; '.join(differing[:5])}): a new run begins, {new}.")
            return RunChoice(new, False, tuple(notices))
        check_same(store, described)
        store.verify()
    return RunChoice(run_id, True, tuple(notices))


def check_same(store: RunStore, description: Mapping[str, Any]) -> None:
    """Raises InputError with what differs between what the run was begun with and ``description``."""
    if differing := differences(store.document, description):
        raise InputError(
            f"{store.root}: cannot be resumed, it was begun otherwise: {'; '.join(differing[:5])}; "
            "give the same options and versions, or begin a new run by --new-run"
        )


def _new_run(results: Location, run_id: str, notices: Sequence[str] = ()) -> RunChoice:
    if is_run(results / run_id):
        raise exists_already(results / run_id)
    return RunChoice(run_id, False, tuple(notices))
