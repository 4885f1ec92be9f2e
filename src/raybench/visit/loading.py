"""Bring one configuration of a visit up, and note what that took."""

from __future__ import annotations

import statistics
from typing import Any, Final

from raybench.deploy import Deployment, LoadCosts, deploy, parameter_bytes, strategy_class
from raybench.machine import Device
from raybench.model import Weights, take_own_memory
from raybench.plan import Configuration
from raybench.visit.spec import VisitSpec

_TIMES: Final = 5
"""How often one more adapter is added and removed."""


def load(
    spec: VisitSpec, configuration: Configuration, weights: Weights, device: Device
) -> tuple[Deployment, dict[str, Any]]:
    """The deployment of ``configuration``, and its row of the loads table as far as loading tells it."""
    strategy_class(configuration.strategy)  # one from outside is imported here, where nothing is measured
    costs = LoadCosts(device)
    device.reset_peak()
    before = device.memory_bytes()
    deployment = deploy(configuration, weights, costs)
    take_own_memory(deployment.model)
    device.synchronize()
    adapter_bytes, weight_bytes = parameter_bytes(deployment.model)
    if costs.adapter_bytes is not None:  # which lie among the others now
        adapter_bytes, weight_bytes = costs.adapter_bytes, adapter_bytes + weight_bytes - costs.adapter_bytes
    noticed, resident_bytes, load_peak_bytes = weights.noticed(), device.memory_bytes(), device.peak_bytes()
    add_ns, remove_ns = _one_more(deployment, device)
    return deployment, {
        "visit": spec.visit,
        "block": spec.block,
        "configuration": configuration.name,
        "round": spec.round,
        "load_ns": costs.load_ns,
        "adapter_load_ns": costs.adapter_load_ns,
        "merge_ns": costs.merge_ns,
        "form_ns": costs.form_ns,
        "untied_bytes": costs.untied_bytes,
        "weight_bytes": weight_bytes,
        "adapter_bytes": adapter_bytes,
        "resident_bytes": resident_bytes - before,
        "load_peak_bytes": load_peak_bytes - before,
        "adapter_add_ns": add_ns,
        "adapter_remove_ns": remove_ns,
        "random_weights": noticed.random_weights,
        "unused_adapter": noticed.unused_adapter,
    }


def _one_more(deployment: Deployment, device: Device) -> tuple[int | None, int | None]:
    """Median nanoseconds to add one more adapter to those that are resident, and to remove it again."""
    if deployment.add is None or deployment.remove is None:
        return None, None
    taken: dict[str, list[int]] = {"add": [], "remove": []}
    for _ in range(_TIMES):
        for what, do in (("add", deployment.add), ("remove", deployment.remove)):
            started = device.clock()
            do()
            device.synchronize()
            taken[what].append(device.clock() - started)
    return statistics.median_low(taken["add"]), statistics.median_low(taken["remove"])
