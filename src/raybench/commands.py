"""The commands of ``raybench``, each by what it is told.

What a room hands out is imported for the command that runs, the type of its options too: None where nothing is said.
"""

from __future__ import annotations

from raybench import compare, decide, page, report, store, sweep


def _to_read(run: report.RunArgument, results: store.Location) -> store.Location:
    """The place of a run, for a command that only reads, and so has no use for pandas."""
    store.look_for_no_pandas()
    return report.named_run(run, results)


def _both_to_read(
    a: report.RunArgument, b: report.RunArgument, results: store.Location
) -> tuple[store.Location, store.Location]:
    """The places of two runs; one that is named twice is looked for once."""
    first = _to_read(a, results)
    return first, first if b == a else _to_read(b, results)


def sweep_command(options: sweep.SweepOptions | None = None) -> int:
    return sweep.run(options or sweep.SweepOptions())


def init_command(options: sweep.FineTuneOptions | None = None) -> int:
    return sweep.run_init(options or sweep.FineTuneOptions())


def plan_command(name: sweep.Plan, /, *, options: sweep.PlanOptions | None = None) -> int:
    return sweep.show_plan(name, options or sweep.PlanOptions())


def doctor_command(options: sweep.DoctorOptions | None = None) -> int:
    return sweep.run_doctor(options or sweep.DoctorOptions())


def prepare_command(preset: sweep.Preset, /, *, options: sweep.PrepareOptions | None = None) -> int:
    return sweep.run_prepare(preset, options or sweep.PrepareOptions())


def runs_command(options: sweep.RunsOptions | None = None) -> int:
    store.look_for_no_pandas()
    return sweep.show_runs(options or sweep.RunsOptions())


def status_command(run: report.Run, /, *, options: sweep.StatusOptions | None = None) -> int:
    options = options or sweep.StatusOptions()
    return sweep.run_status(_to_read(run, options.results), options)


def rm_command(run: report.RunToRemove, /, *, options: report.RmOptions | None = None) -> int:
    options = options or report.RmOptions()
    return report.run_rm(report.named_run(run, options.results), options)


def tables_command(run: report.Run, /, *, options: report.TablesOptions | None = None) -> int:
    options = options or report.TablesOptions()
    return report.run_tables(_to_read(run, options.results), options)


def report_command(
    run: report.Run, other: report.OtherRun = None, /, *, options: page.ReportOptions | None = None
) -> int:
    options = options or page.ReportOptions()
    if other is None:
        return page.run(_to_read(run, options.results), None, options)
    return page.run(*_both_to_read(run, other, options.results), options)


def sql_command(run: report.Run, query: report.Query = None, /, *, options: report.SqlOptions | None = None) -> int:
    options = options or report.SqlOptions()
    return report.run_sql(_to_read(run, options.results), query, options)


def compare_command(
    before: report.RunBefore, after: report.RunAfter, /, *, options: compare.CompareOptions | None = None
) -> int:
    options = options or compare.CompareOptions()
    return compare.run(*_both_to_read(before, after, options.results), options)


def decide_command(run: report.Run, /, *, options: decide.DecideOptions | None = None) -> int:
    options = options or decide.DecideOptions()
    decide.required(options)  # before a run is looked for, which may be far away
    return decide.run(_to_read(run, options.results), options)
