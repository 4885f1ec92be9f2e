"""The commands of ``raybench``, each by what it is told.

What a room hands out is imported for the command that runs, but for the types of what commands are told.
"""

from __future__ import annotations

from raybench import compare, decide, page, report, store, sweep


def _to_read(run: report.RunArgument, results: store.Location) -> store.Location:
    """The place of a run, for a command that only reads, and so has no use for pandas."""
    store.look_for_no_pandas()
    return report.named_run(run, results)


def sweep_command(options: sweep.SweepOptions = sweep.SweepOptions()) -> int:
    return sweep.run(options)


def init_command(options: sweep.FineTuneOptions = sweep.FineTuneOptions()) -> int:
    return sweep.run_init(options)


def plan_command(name: sweep.Plan, /, *, options: sweep.PlanOptions = sweep.PlanOptions()) -> int:
    return sweep.show_plan(name, options)


def doctor_command(options: sweep.DoctorOptions = sweep.DoctorOptions()) -> int:
    return sweep.run_doctor(options)


def prepare_command(preset: sweep.Preset, /, *, options: sweep.PrepareOptions = sweep.PrepareOptions()) -> int:
    return sweep.run_prepare(preset, options)


def runs_command(options: sweep.RunsOptions = sweep.RunsOptions()) -> int:
    store.look_for_no_pandas()
    return sweep.show_runs(options)


def status_command(run: report.Run, /, *, options: sweep.StatusOptions = sweep.StatusOptions()) -> int:
    return sweep.run_status(_to_read(run, options.results), options)


def rm_command(run: report.RunToRemove, /, *, options: report.RmOptions = report.RmOptions()) -> int:
    return report.run_rm(report.named_run(run, options.results), options)


def tables_command(run: report.Run, /, *, options: report.TablesOptions = report.TablesOptions()) -> int:
    return report.run_tables(_to_read(run, options.results), options)


def report_command(
    run: report.Run, other: report.OtherRun = None, /, *, options: page.ReportOptions = page.ReportOptions()
) -> int:
    a = _to_read(run, options.results)
    b = a if other == run else None if other is None else _to_read(other, options.results)
    return page.run(a, b, options)


def sql_command(
    run: report.Run, query: report.Query = None, /, *, options: report.SqlOptions = report.SqlOptions()
) -> int:
    return report.run_sql(_to_read(run, options.results), query, options)


def compare_command(
    before: report.RunBefore, after: report.RunAfter, /, *, options: compare.CompareOptions = compare.CompareOptions()
) -> int:
    a = _to_read(before, options.results)
    b = a if after == before else _to_read(after, options.results)
    return compare.run(a, b, options)


def decide_command(run: report.Run, /, *, options: decide.DecideOptions = decide.DecideOptions()) -> int:
    decide.required(options)  # before a run is looked for, which may be far away
    return decide.run(_to_read(run, options.results), options)
