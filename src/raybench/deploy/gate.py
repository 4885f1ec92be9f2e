"""The correctness gate: before anything is timed, the deployments must compute what they claim to.

A merged adapter must give the logits of the separate one, a resident adapter those it gives alone, and every adapter
others than its base. A latency of wrong logits is no latency.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from raybench.deploy.strategies import STRATEGIES, Deployment
from raybench.machine import torch_dtype
from raybench.model import Weights, is_zero, without_low_rank
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
    """The largest relative error found and the tolerance it was held to; both None without a reference.

    ``effect``: by how much the adapter changes the logits of its base, of several the one that does least; None
    without adapters. It is the error that would have been found had the adapter not been applied.
    """

    error: float | None
    tolerance: float | None
    effect: float | None


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
            _key(c.adapters[0], c): deployment
            for c, deployment in loaded.values()
            if STRATEGIES[c.strategy].adapter_alone
        }

    def check(self, configuration: Configuration, deployment: Deployment) -> GateResult:
        """Raises GateError, with the numbers, for logits that are not finite, not the reference's, or the base's."""
        tolerance = TOLERANCE[str(torch_dtype(configuration.dtype, self._weights.device.kind)).removeprefix("torch.")]
        strategy = STRATEGIES[configuration.strategy]
        errors, effects = [], []
        for task, adapter in self._served(configuration):
            if deployment.switch is not None and adapter is not None:
                deployment.switch(adapter.name)
            got = self._logits(deployment, task)
            if not bool(got.isfinite().all()):
                raise GateError(
                    f"{configuration.name}: logits are not finite on task {task}: {_numbers(got[0])}; check the weights"
                )
            if adapter is None or not (strategy.reproduces_adapters or strategy.adapter_alone):
                continue
            alone = deployment if strategy.adapter_alone else self._adapter_alone(configuration, adapter)
            expected = self._logits(alone, task)
            effects.append(self._effect(configuration, adapter, alone, expected, task))
            if not strategy.reproduces_adapters:
                continue
            error = float((got - expected).norm() / expected.norm())
            if not error <= tolerance:
                raise GateError(
                    f"{configuration.name}: logits differ from adapter {adapter.name} alone by {error:.3g} (relative; "
                    f"tolerance {tolerance:.3g}), first probe {_numbers(got[0])} instead of {_numbers(expected[0])}"
                )
            errors.append(error)
        return GateResult(max(errors, default=None), tolerance if errors else None, min(effects, default=None))

    def _effect(
        self, configuration: Configuration, adapter: Adapter, alone: Deployment, expected: Any, task: str
    ) -> float:
        """By how much the adapter changes logits, relative to its own: those of its base under the same head."""
        size = float(expected.norm())
        if not size:
            raise GateError(
                f"{configuration.name}: adapter {adapter.name} gives logits of 0 alone, by which nothing can be told; "
                "check the head"
            )
        with without_low_rank(alone.model):
            base = self._logits(alone, task)
        effect = float((expected - base).norm()) / size
        if not effect or is_zero(alone.model, adapter.name):
            raise GateError(
                f"{configuration.name}: adapter {adapter.name} changes nothing: with it and without it the first probe "
                f"has logits {_numbers(expected[0])}; its LoRA weights are 0, as in one that was never trained, or do "
                "not reach the logits"
            )
        return effect

    def _served(self, configuration: Configuration) -> list[tuple[str, Adapter | None]]:
        by_task = {a.task: a for a in configuration.adapters}
        # A round of fewer requests than tasks leaves some tasks out of the visit.
        return [(task, by_task.get(task)) for task in configuration.tasks if task in self._probes]

    def _logits(self, deployment: Deployment, task: str) -> Any:
        import torch

        return torch.cat([deployment.forward(**inputs).logits.float() for inputs in self._probes[task]])

    def _adapter_alone(self, configuration: Configuration, adapter: Adapter) -> Deployment:
        key = _key(adapter, configuration)
        if key in self._alone:
            return self._alone[key]
        model = self._weights.attach(self._weights.base(configuration), adapter, configuration)
        return Deployment(model, model)


def _key(adapter: Adapter, configuration: Configuration) -> tuple[str, str, str]:
    return adapter.name, configuration.dtype, configuration.adapter_dtype


def _numbers(logits: Any) -> str:
    return "[" + ", ".join(f"{v:.4f}" if math.isfinite(v) else str(v) for v in logits.tolist()) + "]"
