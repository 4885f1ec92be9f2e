"""A run from start to end: the one place where measuring and reading meet."""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.sweep.checked_plan import CheckedPlan, check_plan
    from raybench.sweep.command import main, run
    from raybench.sweep.doctor_command import run_doctor
    from raybench.sweep.fine_tune_options import FineTuneOptions
    from raybench.sweep.init_command import run_init
    from raybench.sweep.options import SweepOptions
    from raybench.sweep.overrides import plan_overrides
    from raybench.sweep.plan_command import show_plan
    from raybench.sweep.plan_options import Plan, PlanOptions, PrepareOptions, Preset
    from raybench.sweep.prepare_command import run_prepare
    from raybench.sweep.reading_options import DoctorOptions, RunsOptions, StatusOptions
    from raybench.sweep.runs_command import show_runs
    from raybench.sweep.status import run_status
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "CheckedPlan",
    "DoctorOptions",
    "FineTuneOptions",
    "Plan",
    "PlanOptions",
    "PrepareOptions",
    "Preset",
    "RunsOptions",
    "StatusOptions",
    "SweepOptions",
    "check_plan",
    "main",
    "plan_overrides",
    "run",
    "run_doctor",
    "run_init",
    "run_prepare",
    "run_status",
    "show_plan",
    "show_runs",
]
