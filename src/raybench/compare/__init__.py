"""The same verdicts between two runs of one plan."""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.compare.command import add_arguments, run
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "add_arguments",
    "run",
]
