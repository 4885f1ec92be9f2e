"""Ray: a worker on each device, and which visit it gets next. The only room that imports ray."""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.cluster.agenda import Agenda, Job
    from raybench.cluster.cluster import Cluster
    from raybench.cluster.examining import examine_nodes
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "Agenda",
    "Cluster",
    "Job",
    "examine_nodes",
]
