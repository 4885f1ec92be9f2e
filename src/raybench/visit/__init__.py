"""One block in one round: loaded, gated and timed in turns, in a fresh process."""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.visit.messages import Calibrated, Counted, Died, Failed, Finished, Loaded, Message, Samples
    from raybench.visit.process import ProcessHost, in_parcels
    from raybench.visit.serving import OPENER_TOKENS
    from raybench.visit.spec import VisitSpec
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "OPENER_TOKENS",
    "Calibrated",
    "Counted",
    "Died",
    "Failed",
    "Finished",
    "Loaded",
    "Message",
    "ProcessHost",
    "Samples",
    "VisitSpec",
    "in_parcels",
]
