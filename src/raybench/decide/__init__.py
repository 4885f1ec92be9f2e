"""From a run's measurements to advice: how to deploy, on how many GPUs, at what cost."""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.decide.command import run
    from raybench.decide.in_brief import Brief, advise
    from raybench.decide.options import DecideOptions, StatedNeeds, required, stated
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "Brief",
    "DecideOptions",
    "StatedNeeds",
    "advise",
    "required",
    "run",
    "stated",
]
