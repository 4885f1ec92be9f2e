"""From a run's measurements to advice: how to deploy, on how many GPUs, at what cost."""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.decide.command import add_arguments, run
    from raybench.decide.in_brief import Brief, advise, stated_needs
    from raybench.decide.options import add_needs
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "Brief",
    "add_arguments",
    "add_needs",
    "advise",
    "run",
    "stated_needs",
]
