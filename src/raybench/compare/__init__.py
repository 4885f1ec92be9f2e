"""The same verdicts between two runs of one plan."""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.compare.changes import Change
    from raybench.compare.command import add_arguments, compare, run
    from raybench.compare.comparison import By, Row, RunComparison
    from raybench.compare.differences import Changed, changed
    from raybench.compare.options import add_devices_argument
    from raybench.compare.report import WHY_UNKNOWN, change_interval
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "WHY_UNKNOWN",
    "By",
    "Change",
    "Changed",
    "Row",
    "RunComparison",
    "add_arguments",
    "add_devices_argument",
    "change_interval",
    "changed",
    "compare",
    "run",
]
