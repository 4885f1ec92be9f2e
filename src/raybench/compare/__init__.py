"""The same verdicts between two runs of one plan."""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.compare.changes import Change
    from raybench.compare.command import compare, run
    from raybench.compare.comparison import Row, RunComparison
    from raybench.compare.differences import Changed, changed
    from raybench.compare.options import By, CompareOptions, DevicesOptions
    from raybench.compare.report import WHY_UNKNOWN, change_headers, change_interval
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "WHY_UNKNOWN",
    "By",
    "Change",
    "Changed",
    "CompareOptions",
    "DevicesOptions",
    "Row",
    "RunComparison",
    "change_headers",
    "change_interval",
    "changed",
    "compare",
    "run",
]
