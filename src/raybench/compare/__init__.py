"""The same verdicts between two runs of one plan."""

from raybench.compare.command import add_arguments, run

__all__ = [
    "add_arguments",
    "run",
]
