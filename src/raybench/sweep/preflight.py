"""What a sweep will do, checked before anything slow is started, with every problem found said together.

The command line's options end here: what goes on down is one `CheckedSweep`.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from raybench.machine import in_ray_job
from raybench.plan import Plan, first_of
from raybench.records import InputError, Problems
from raybench.report import option_name
from raybench.store import DEFAULT_RESULTS, Location, check_writable, validate_run_id
from raybench.sweep.checked_plan import CheckedPlan, check_plan
from raybench.sweep.command_words import command_words
from raybench.sweep.fine_tune_options import OF_FINE_TUNES
from raybench.sweep.options import SweepOptions
from raybench.sweep.overrides import ClusterOptions, cluster_options, plan_overrides
from raybench.sweep.own_plan import OwnPlan, check_own_plan
from raybench.sweep.plan_options import DEFAULT_PLAN
from raybench.sweep.run_choice import choose_run
from raybench.sweep.served_plan import check_running, missing_engines
from raybench.sweep.served_text import whole_path


@dataclasses.dataclass(frozen=True, slots=True)
class CheckedSweep:
    """One sweep: what is measured, on which cluster, where it is kept, and whether a run is gone on with.

    ``command``: the words of the command line that goes on with it. ``notices``: what there is to say before it begins.
    ``written_from``: the options that its plan was written from; none where it was named. ``keeps_page``: whether its
    page is written at its end. ``engine_python``: of the command line, instead of the plan's.
    """

    checked: CheckedPlan
    cluster: ClusterOptions
    results: Location
    run_id: str
    resuming: bool
    command: tuple[str, ...]
    notices: tuple[str, ...]
    written_from: tuple[str, ...] = ()
    keeps_page: bool = True
    engine_python: str | None = None

    @property
    def plan(self) -> Plan:
        return self.checked.plan

    @property
    def root(self) -> Location:
        """Where the run is."""
        return self.results / self.run_id


def check_sweep(options: SweepOptions) -> CheckedSweep:
    """Raises InputError, SeveralProblemsError where several things are wrong, and StoreError for a damaged run."""
    problems = Problems()
    checked, own = _check_plan(options, problems)
    with problems.gathered():
        if checked is not None and options.address is None and not in_ray_job() and not os.environ.get("RAY_ADDRESS"):
            # Elsewhere they are found by the workers.
            problems.found += missing_engines(checked.plan)
            check_running(checked.plan)
    results: Location = options.results or default_results()
    with problems.gathered():
        if options.run_id is not None:
            validate_run_id(options.run_id)
    with problems.gathered():
        if in_ray_job() and isinstance(results, Path) and not results.is_absolute():
            raise InputError(
                f"--results {results}: a Ray job's own folder is thrown away with it; give s3://BUCKET/PREFIX, "
                "gs://BUCKET/PREFIX or an absolute path"
            )
        check_writable(results)
    problems.raise_if_any()
    assert checked is not None
    chosen = choose_run(checked, results, options)
    cluster, of_workers = _workers(checked.plan, cluster_options(options))
    return CheckedSweep(
        checked=checked,
        cluster=cluster,
        results=results,
        run_id=chosen.run_id,
        resuming=chosen.resuming,
        command=command_words(options, results, chosen.run_id),
        notices=(
            *(() if own is None else (*own.found, *own.left_out)),
            *checked.notes,
            *of_workers,
            *chosen.notices,
        ),
        written_from=() if own is None else own.options,
        keeps_page=not options.no_report,
        engine_python=whole_path(options.engine_python),
    )


def _workers(plan: Plan, asked: ClusterOptions) -> tuple[ClusterOptions, tuple[str, ...]]:
    """The workers that there may be, with what there is to say of those that are asked for and may not.

    All visits ask one and the same server where it runs already: two at a time would be each other's load.
    """
    running = [repr(table.name) for table in plan.servers if table.url is not None]
    if not running:
        return asked, ()
    told = {"--workers": asked.workers or 1, "--workers-per-node": asked.workers_per_node}
    more = " and ".join(f"{option} {number}" for option, number in told.items() if number > 1)
    notice = (
        f"{more}: not used, there is one worker: server {first_of(running, 3)} runs already, and visits that ask it at "
        "the same time would be load on each other"
    )
    return dataclasses.replace(asked, workers=1, workers_per_node=1), (notice,) if more else ()


def _check_plan(options: SweepOptions, problems: Problems) -> tuple[CheckedPlan | None, OwnPlan | None]:
    """The plan that is named, or the one that is written from adapters."""
    if not options.adapter:
        if alone := [option_name(name) for name in OF_FINE_TUNES if getattr(options, name) is not None]:
            problems.found.append(f"{', '.join(alone)}: goes with --adapter; a plan says such things itself")
        named = DEFAULT_PLAN if options.plan is None else options.plan
        return check_plan(named, plan_overrides(options), options.model, problems), None
    if options.plan is not None:
        problems.found.append(
            f"--plan {options.plan} and --adapter: give one of the two; `raybench init` writes a plan to edit"
        )
    own = check_own_plan(options, plan_overrides(options), problems)
    return None if own is None else own.checked, own


def default_results() -> Path:
    """``data/runs`` here; in a Ray job, whose folder is thrown away, ``~/raybench/runs`` of the driver's node."""
    return Path.home() / "raybench" / "runs" if in_ray_job() else DEFAULT_RESULTS
