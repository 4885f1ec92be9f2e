"""Ray: a worker on each device, and which visit it gets next. The only room that imports ray."""

from raybench.cluster.agenda import Agenda, Job
from raybench.cluster.cluster import Cluster

__all__ = [
    "Agenda",
    "Cluster",
    "Job",
]
