"""``raybench plan --json``: what a plan would run, for programs. What a run keeps of its plan is the same there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from raybench.deploy import all_traits
from raybench.machine import measure_core
from raybench.model import ModelFiles
from raybench.sweep.checked_plan import CheckedPlan
from raybench.sweep.describe import describe_configurations, describe_plan, lora
from raybench.sweep.estimate import GPUS, this_core
from raybench.sweep.estimate_lines import estimates


def plan_json(checked: CheckedPlan, command: Sequence[str]) -> dict[str, Any]:
    """As JSON values; ``command``: the words that run it.

    ``estimates``: of each machine seconds and bytes, worked out and not measured; none where a visit starts servers, or
    where the model's files do not say how large it is.
    """
    plan = checked.plan
    return {
        "plan": describe_plan(plan),
        "model": None if checked.model is None else checked.model.name,
        "configurations": describe_configurations(plan, all_traits(), checked.model),
        "blocks": [
            {
                "name": block.name,
                "configurations": [c.name for c in block.members],
                "compared_with": [c.name for c in block.guests],
            }
            for block in plan.blocks
        ],
        "adapters": [{"name": adapter.name, "task": adapter.task, **lora(adapter)} for adapter in plan.adapters()],
        "visits": len(plan.blocks) * plan.rounds,
        "samples_of_a_configuration": plan.rounds * plan.requests,
        "samples": plan.expected_samples(),
        "guest_samples": plan.guest_samples(),
        "estimates": [] if plan.servers else _estimates(checked),
        "cautions": list(checked.notes),
        "command": list(command),
    }


def _estimates(checked: CheckedPlan) -> list[dict[str, Any]]:
    files = ModelFiles()
    made = [
        *estimates(checked, [this_core(measure_core())], files),
        *estimates(checked, GPUS, files),
    ]
    return [
        {
            "machine": machine.name,
            "model": checked.model_on(machine.kind).name,
            "machine_memory_bytes": machine.memory_bytes,
            **dataclasses.asdict(one),
        }
        for machine, one in made
    ]
