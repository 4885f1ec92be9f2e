"""The correctness gate: before anything is timed, the deployments must compute what they claim to.

A merged adapter must give the logits of the separate one, a resident adapter those it gives alone, and every adapter
others than its base. A latency of wrong logits is no latency.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from raybench.deploy.fidelity import Fidelity, compared, worst
from raybench.deploy.generation import Generator, generate, logits_after
from raybench.deploy.strategies import STRATEGIES, deploy, strategy_source
from raybench.deploy.strategy import Deployment, LoadCosts
from raybench.machine import dtype_name
from raybench.model import Prompts, Weights, changes_base, is_zero, peft_name, without_low_rank
from raybench.plan import Adapter, Configuration
from raybench.records import RaybenchError

TOLERANCE: Mapping[str, float] = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
"""Largest relative error ``|a - b| / |b|`` over the probes' logits, by the model's data type.

About 1,000 roundings of the type (2^-23, 2^-10, 2^-7) for float32 and, for the short types, the few roundings that
folding the adapter into the weights costs, grown through the layers.
"""


_SHOWN = 8
CHECKED_ADAPTERS: Final = 4
"""Of more adapters that share a task so many are checked in a visit: the first, the last, and others that are drawn."""


class GateError(RaybenchError):
    """A deployment whose logits are not those of its adapters."""


@dataclasses.dataclass(frozen=True, slots=True)
class GateResult:
    """The largest relative error found and the tolerance it was held to; both None without a reference.

    ``effect``: by how much the adapter changes the logits of its base, of several the one that does least; None
    without adapters. It is the error that would have been found had the adapter not been applied.
    ``agreement``, ``divergence``: means over what was checked, as `Fidelity` has them; None without a reference.
    """

    error: float | None
    tolerance: float | None
    effect: float | None
    agreement: float | None = None
    divergence: float | None = None


class Gate:
    """Checks the deployments of one visit on a few of its requests.

    ``probes`` are requests by task. An adapter's logits alone come from the block's own separate deployment of
    it, or from one that is brought up for the check and dropped. Of many adapters that share a task some are
    checked, with another ``draw`` others. A language model is checked on the tokens that the adapter alone generates:
    its logits for each of them, in one forward.
    """

    def __init__(
        self,
        weights: Weights,
        probes: Mapping[str, Sequence[Prompts]],
        loaded: Mapping[str, tuple[Configuration, Deployment]],
        draw: int = 0,
    ) -> None:
        self._weights, self._probes, self._draw = weights, probes, draw
        self._alone = {
            _key(c.adapters[0], c): deployment
            for c, deployment in loaded.values()
            if STRATEGIES[c.strategy].adapter_alone and strategy_source(c.strategy) is None and c.is_usual
        }
        self._continued: dict[tuple[object, ...], Any] = {}

    def check(self, configuration: Configuration, deployment: Deployment) -> GateResult:
        """Raises GateError, with the numbers, for logits that are not finite, not the reference's, or the base's."""
        tolerance = TOLERANCE[dtype_name(configuration.dtype, self._weights.device.kind)]
        strategy = STRATEGIES[configuration.strategy]
        # In another form, or compiled, it must still be what PEFT computes.
        own = strategy.adapter_alone and not strategy.reproduces_adapters and configuration.is_usual
        reproduces = strategy.reproduces_adapters or (strategy.adapter_alone and not own)
        found, effects = [], []
        for adapter, probes in self._served(configuration):
            if adapter is not None:
                deployment.switch_to(adapter.name)
            if adapter is None or not (reproduces or own):
                got = self._logits(configuration, deployment, probes)
                self._check_finite(configuration, probes, got)
                if not configuration.is_usual:
                    found.append(self._against_usual(configuration, adapter, got, probes, tolerance))
                continue
            alone = deployment if own else self._adapter_alone(configuration, adapter)
            continued = [self._continuation(configuration, adapter, alone, probe) for probe in probes]
            expected = self._logits(configuration, alone, probes, adapter, continued)
            self._check_finite(configuration, probes, expected)
            effects.append(self._effect(configuration, adapter, alone, expected, probes, continued))
            if own:
                continue
            got = self._logits(configuration, deployment, probes, adapter, continued)
            self._check_finite(configuration, probes, got)
            found.append(compared(got, expected))
            error = found[-1].error
            if not strategy.is_exact(configuration):
                if not strategy.traits.unquantized:
                    continue
                # What it is not as the quantized base has it, it must be as the unquantized one does.
                unquantized = dataclasses.replace(configuration, quantization=None)
                alone = self._adapter_alone(unquantized, adapter)
                expected = self._logits(configuration, alone, probes, adapter, continued)
                error = compared(got, expected).error
            if not error <= tolerance:
                raise GateError(
                    f"{configuration.name}: logits differ from adapter {adapter.name} alone by {error:.3g} "
                    f"(relative; tolerance {tolerance:.3g}), first probe {_numbers(got[0])} instead of "
                    f"{_numbers(expected[0])}"
                )
        effect, whole = min(effects, default=None), worst(found)
        if whole is None:
            return GateResult(None, None, effect)
        held_to = tolerance if strategy.is_exact(configuration) else None
        return GateResult(whole.error, held_to, effect, whole.agreement, whole.divergence)

    def _against_usual(
        self,
        configuration: Configuration,
        adapter: Adapter | None,
        got: Any,
        probes: Sequence[Prompts],
        tolerance: float,
    ) -> Fidelity:
        """How far logits are from those that the strategy gives by itself, operation by operation."""
        usual = dataclasses.replace(configuration, form=None, execution="eager")
        by_itself = deploy(usual, self._weights, LoadCosts(self._weights.device))
        if adapter is not None:
            by_itself.switch_to(adapter.name)
        found = compared(got, self._logits(usual, by_itself, probes))
        if not found.error <= tolerance:
            raise GateError(
                f"{configuration.name}: logits differ from those of {configuration.strategy} by itself by "
                f"{found.error:.3g} (relative; tolerance {tolerance:.3g})"
            )
        return found

    def _check_finite(self, configuration: Configuration, probes: Sequence[Prompts], logits: Any) -> None:
        if not bool(logits.isfinite().all()):
            raise GateError(
                f"{configuration.name}: logits are not finite on task {probes[0].tasks[0]}: {_numbers(logits[0])}; "
                "check the weights"
            )

    def _effect(
        self,
        configuration: Configuration,
        adapter: Adapter,
        alone: Deployment,
        expected: Any,
        probes: Sequence[Prompts],
        continued: Sequence[Any],
    ) -> float:
        """By how much the adapter changes logits, relative to its own: those of its base under the same head."""
        size = float(expected.norm())
        if not size:
            raise GateError(
                f"{configuration.name}: adapter {adapter.name} gives logits of 0 alone, by which nothing can be told; "
                "check the head"
            )
        plain = self._on_the_base_as_it_is(configuration, adapter, alone)
        with without_low_rank(plain.model):
            base = self._logits(configuration, plain, probes, adapter, continued)
        effect = float((expected - base).norm()) / size
        if not effect or is_zero(alone.model, adapter.name):
            raise GateError(
                f"{configuration.name}: adapter {adapter.name} changes nothing: with it and without it the first probe "
                f"has logits {_numbers(expected[0])}; its LoRA weights are 0, as in one that was never trained, or do "
                "not reach the logits"
            )
        return effect

    def _served(self, configuration: Configuration) -> list[tuple[Adapter | None, list[Prompts]]]:
        """Each adapter with the probes that it serves; None for one without adapters."""
        # A round of fewer requests than tasks leaves some tasks out of the visit.
        if len(configuration.adapters) < 2:
            own = next(iter(configuration.adapters), None)
            tasks = configuration.tasks if any(t in self._probes for t in configuration.tasks) else self._probes
            return [(own, list(self._probes[task])) for task in tasks if task in self._probes]
        everything = [probe for probes in self._probes.values() for probe in probes]
        checked = checked_adapters(configuration, self._draw)
        served = [(a, [probe for probe in everything if a.task in probe.tasks]) for a in checked]
        return [(adapter, probes) for adapter, probes in served if probes]

    def _continuation(self, configuration: Configuration, adapter: Adapter, alone: Deployment, probe: Prompts) -> Any:
        """What the adapter alone generates after a probe, shape (batch, output tokens); None of a classifier."""
        if not probe.output_tokens:
            return None
        key = (*_key(adapter, configuration), id(probe))
        if key not in self._continued:
            self._continued[key] = generate(Generator(alone), probe)
        return self._continued[key]

    def _logits(
        self,
        configuration: Configuration,
        deployment: Deployment,
        probes: Sequence[Prompts],
        adapter: Adapter | None = None,
        continued: Sequence[Any] = (),
    ) -> Any:
        """Of all outputs in float32, shape (outputs, choices); of a mixed batch those of the adapter's own rows."""
        import torch

        found = []
        for place, probe in enumerate(probes):
            around: AbstractContextManager[Any] = contextlib.nullcontext()
            names = _of_rows(configuration, adapter, probe, place)
            if deployment.mixed is not None:
                around = deployment.mixed(names)
            with around:
                if probe.output_tokens:
                    after = continued[place] if continued else None
                    logits = logits_after(Generator(deployment), probe, after).float()
                else:
                    # Copied: a captured graph's are written over by the next probe's.
                    logits = deployment.forward(**probe.values).logits.float().clone()
            if adapter is not None and len(set(names)) > 1:
                logits = logits[[row for row, name in enumerate(names) if name == adapter.name]]
            found.append(logits.reshape(-1, logits.shape[-1]))
        return torch.cat(found)

    def _on_the_base_as_it_is(self, configuration: Configuration, adapter: Adapter, alone: Deployment) -> Deployment:
        """``alone``, or of an adapter that changes its base as it is loaded one whose base is as it was."""
        config = getattr(alone.model, "peft_config", {}).get(peft_name(adapter.name))
        if config is None or not changes_base(config):
            return alone
        model = self._weights.attach(self._weights.base(configuration), adapter, configuration, keep_base=True)
        return Deployment(model, model)

    def _adapter_alone(self, configuration: Configuration, adapter: Adapter) -> Deployment:
        key = _key(adapter, configuration)
        if key in self._alone:
            return self._alone[key]
        model = self._weights.attach(self._weights.base(configuration), adapter, configuration)
        return Deployment(model, model)


def checked_adapters(configuration: Configuration, draw: int) -> Sequence[Adapter]:
    """Its adapters, or some of them where many share a task: with another ``draw`` others."""
    adapters = configuration.adapters
    if not configuration.shares_task or len(adapters) <= CHECKED_ADAPTERS:
        return adapters
    drawn = random.Random(f"{configuration.seed} {draw}").sample(range(1, len(adapters) - 1), CHECKED_ADAPTERS - 2)
    return [adapters[place] for place in (0, *sorted(drawn), len(adapters) - 1)]


def _of_rows(configuration: Configuration, adapter: Adapter | None, probe: Prompts, place: int) -> list[str]:
    """Who computes each row of probe number ``place``: the adapter of its task or, of those that share one, the next.

    ``adapter``, which is checked, is then in another row of each probe.
    """
    adapters = configuration.adapters
    if not configuration.shares_task:
        by_task = {a.task: a.name for a in adapters}
        return [by_task.get(task, "") for task in probe.tasks]
    own = 0 if adapter is None else adapters.index(adapter)
    if configuration.routing != "mixed":
        return [adapters[own].name] * len(probe.tasks)
    first = own - (own + place) % len(probe.tasks)
    return [adapters[(first + row) % len(adapters)].name for row in range(len(probe.tasks))]


def _key(adapter: Adapter, configuration: Configuration) -> tuple[str | None, ...]:
    return adapter.name, configuration.dtype, configuration.adapter_dtype, configuration.quantization


def _numbers(logits: Any) -> str:
    shown = [f"{v:.4f}" if math.isfinite(v) else str(v) for v in logits[:_SHOWN].tolist()]
    return "[" + ", ".join([*shown, *(["..."] if len(logits) > _SHOWN else [])]) + "]"
