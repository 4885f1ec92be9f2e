"""The correctness gate: before anything is timed, the deployments must compute what they claim to.

A merged adapter must give the logits of the separate one, and a resident adapter those it gives alone. A latency
of wrong logits is no latency.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from raybench.deploy.strategies import STRATEGIES, Deployment
from raybench.machine import torch_dtype
from raybench.model import Weights
from raybench.plan import Adapter, Configuration
from raybench.records import RaybenchError

TOLERANCE: Mapping[str, float] = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
"""Largest relative error ``|a - b| / |b|`` over the probes' logits, by the model's data type.

About 1,000 roundings of the type (2^-23, 2^-10, 2^-7) for float32 and, for the short types, the few roundings that
folding the adapter into the weights costs, grown through the layers.
"""


class GateError(RaybenchError):
    """A deployment whose logits are not those of its adapters."""


@dataclasses.dataclass(frozen=True, slots=True)
class GateResult:
    """The largest relative error found and the tolerance it was held to; both None without a reference."""

    error: float | None
    tolerance: float | None


class Gate:
    """Checks the deployments of one visit on a few of its requests.

    ``probes`` are model inputs by task. An adapter's logits alone come from the block's own separate deployment of
    it, or from one that is brought up for the check and dropped.
    """

    def __init__(
        self,
        weights: Weights,
        probes: Mapping[str, Sequence[Mapping[str, Any]]],
        loaded: Mapping[str, tuple[Configuration, Deployment]],
    ) -> None:
        self._weights, self._probes = weights, probes
        self._alone = {
            (c.adapters[0].name, c.dtype, c.adapter_dtype): deployment
            for c, deployment in loaded.values()
            if c.strategy == "lora_separate"
        }

    def check(self, configuration: Configuration, deployment: Deployment) -> GateResult:
        """Raises GateError, with the numbers, for logits that are not finite or not the reference's."""
        tolerance = TOLERANCE[str(torch_dtype(configuration.dtype, self._weights.device.kind)).removeprefix("torch.")]
        reference = STRATEGIES[configuration.strategy].reproduces_adapters
        worst = None
        for task, adapter in self._served(configuration):
            if deployment.switch is not None and adapter is not None:
                deployment.switch(adapter.name)
            got = self._logits(deployment, task)
            if not bool(got.isfinite().all()):
                raise GateError(
                    f"{configuration.name}: logits are not finite on task {task}: {_numbers(got[0])}; check the weights"
                )
            if adapter is None or not reference:
                continue
            expected = self._logits(self._adapter_alone(configuration, adapter), task)
            error = float((got - expected).norm() / expected.norm())
            if not error <= tolerance:
                raise GateError(
                    f"{configuration.name}: logits differ from adapter {adapter.name} alone by {error:.3g} (relative; "
                    f"tolerance {tolerance:.3g}), first probe {_numbers(got[0])} instead of {_numbers(expected[0])}"
                )
            worst = max(error, worst or 0.0)
        return GateResult(worst, None if worst is None else tolerance)

    def _served(self, configuration: Configuration) -> list[tuple[str, Adapter | None]]:
        by_task = {a.task: a for a in configuration.adapters}
        # A round of fewer requests than tasks leaves some tasks out of the visit.
        return [(task, by_task.get(task)) for task in configuration.tasks if task in self._probes]

    def _logits(self, deployment: Deployment, task: str) -> Any:
        import torch

        return torch.cat([deployment.forward(**inputs).logits.float() for inputs in self._probes[task]])

    def _adapter_alone(self, configuration: Configuration, adapter: Adapter) -> Deployment:
        key = (adapter.name, configuration.dtype, configuration.adapter_dtype)
        if key in self._alone:
            return self._alone[key]
        model = self._weights.attach(self._weights.base(configuration), adapter, configuration)
        return Deployment(model, model)


def _numbers(logits: Any) -> str:
    return "[" + ", ".join(f"{v:.4f}" if math.isfinite(v) else str(v) for v in logits.tolist()) + "]"
