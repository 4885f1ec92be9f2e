"""One block in one round: loaded, gated and timed in turns, in a fresh process."""

from raybench.visit.process import ProcessHost, in_parcels
from raybench.visit.serving import OPENER_TOKENS
from raybench.visit.visit import Died, Failed, Finished, Loaded, Message, Samples, VisitSpec

__all__ = [
    "OPENER_TOKENS",
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
