"""A run from start to end: the one place where measuring and reading meet."""

from raybench.sweep.command import main, run
from raybench.sweep.options import add_arguments
from raybench.sweep.status import add_status_arguments, run_status

__all__ = [
    "add_arguments",
    "add_status_arguments",
    "main",
    "run",
    "run_status",
]
