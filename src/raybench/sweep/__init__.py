"""A run from start to end: the one place where measuring and reading meet."""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.sweep.checked_plan import CheckedPlan, check_plan
    from raybench.sweep.command import main, run
    from raybench.sweep.doctor_command import add_doctor_arguments, run_doctor
    from raybench.sweep.init_command import add_init_arguments, run_init
    from raybench.sweep.options import add_arguments, plan_overrides
    from raybench.sweep.plan_command import show_plan
    from raybench.sweep.plan_options import add_plan_arguments
    from raybench.sweep.runs_command import add_runs_arguments, show_runs
    from raybench.sweep.status import add_status_arguments, run_status
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "CheckedPlan",
    "add_arguments",
    "add_doctor_arguments",
    "add_init_arguments",
    "add_plan_arguments",
    "add_runs_arguments",
    "add_status_arguments",
    "check_plan",
    "main",
    "plan_overrides",
    "run",
    "run_doctor",
    "run_init",
    "run_status",
    "show_plan",
    "show_runs",
]
