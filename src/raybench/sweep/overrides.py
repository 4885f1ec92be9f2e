"""What a sweep's command line means for its plan and its cluster."""

from __future__ import annotations

import dataclasses

from raybench.plan import Overrides
from raybench.sweep.options import SweepOptions


@dataclasses.dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Where visits run: a Ray cluster to join (None: one is started here), how many workers, how long to wait."""

    address: str | None
    workers: int | None
    workers_per_node: int
    wait_s: float | None


def plan_overrides(options: SweepOptions) -> Overrides:
    """What the command line changes of a plan."""
    return Overrides(
        design=options.design,
        rounds=options.rounds,
        requests=options.requests,
        order_seed=options.order_seed,
        until_halfwidth=options.until_halfwidth,
        max_rounds=options.max_rounds,
        accelerator_type=options.accelerator_type,
        engine_python=options.engine_python,
    )


def cluster_options(options: SweepOptions) -> ClusterOptions:
    """What the command line says of the cluster."""
    return ClusterOptions(options.address, options.workers, options.workers_per_node, options.wait)
