"""A run's description: what ``run.json`` says, enough to read the run and to resume it."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Final

from raybench.deploy import strategy_source
from raybench.machine import describe_machine, package_versions
from raybench.model import ModelSpec, Workload
from raybench.plan import Adapter, Configuration, Execution, Plan, homes, own_role
from raybench.records import StrategyTraits
from raybench.schemas import SCHEMA_VERSION
from raybench.store import differing
from raybench.sweep.checked_plan import is_shape_only

FIXED = ("plan", "model", "workload", "configurations", "comparisons")
"""What must be the same for a run to be gone on with."""

_EXECUTIONS: Final[Mapping[Execution, str]] = {
    "compile": "compiled",
    "compile_static": "compiled by length",
    "cudagraph": "CUDA graph",
}


def deployment(
    configuration: Configuration, traits: Mapping[str, StrategyTraits], model: ModelSpec | None = None
) -> str:
    """Its row in the study's table: its role, if it has one, or its strategy's label with what varies."""
    known = traits[configuration.strategy]
    if configuration.role != own_role(configuration.strategy, configuration.form, configuration.execution):
        load = configuration.load  # a role has the same name under each
        return configuration.role if load is None else f"{configuration.role} ({load.words()})"
    details = [str(len(configuration.adapters))] if known.max_adapters > max(1, known.min_adapters) else []
    details += [] if configuration.form is None else [configuration.form]
    details += [] if configuration.execution == "eager" else [_EXECUTIONS[configuration.execution]]
    if configuration.adapter_dtype != "float32" and configuration.adapters:
        details.append("adapters in the base's type")
    details += ["base's shape"] if is_shape_only(configuration, model) else []
    details += [d for d in (configuration.dtype, configuration.routing) if d not in ("auto", "round_robin")]
    if configuration.quantization is not None:
        details.append(
            f"unquantized for {configuration.quantization}" if known.unquantized else configuration.quantization
        )
    details += [] if configuration.kv_cache == "dynamic" else [f"{configuration.kv_cache} cache"]
    details += [] if configuration.batch == 1 else [f"batch {configuration.batch}"]
    details += [] if configuration.load is None else [configuration.load.words()]
    return f"{known.label} ({', '.join(details)})" if details else known.label


def lora(adapter: Adapter) -> dict[str, Any]:
    """What was measured of an adapter: for one with a ``path``, what its files say."""
    targets = adapter.target_modules
    found: dict[str, Any] = {
        "r": adapter.r,
        "alpha": adapter.alpha,
        "target_modules": targets if isinstance(targets, str) else list(targets or ()),
        "path": adapter.path,
    }
    if adapter.target_parameters:
        found["target_parameters"] = list(adapter.target_parameters)
    return found


def describe_plan(plan: Plan) -> dict[str, Any]:
    """The plan but for its configurations, with what the command line changed of it, as JSON values."""
    return {
        "name": plan.name,
        "description": plan.description,
        "design": plan.design,
        "rounds": plan.rounds,
        "requests": plan.requests,
        "warmups": plan.warmups,
        "turn_requests": plan.turn_requests,
        "workload_seed": plan.workload_seed,
        "order_seed": plan.order_seed,
        "margin": plan.margin,
        "references": list(plan.references),
        "claims": [{"strategy": c.role, "reference": c.reference} for c in plan.claims],
        "until_halfwidth": plan.until_halfwidth,
        "accelerator_type": plan.accelerator_type,
        "servers": [table.describe() for table in plan.servers],
        "goodput": None if plan.goodput is None else dataclasses.asdict(plan.goodput),
    }


def describe_configurations(
    plan: Plan, traits: Mapping[str, StrategyTraits], model: ModelSpec | None = None
) -> list[dict[str, Any]]:
    """What is measured, as JSON values. ``model``: None where the device decides."""
    home = homes(plan.blocks)
    return [
        {
            "name": c.name,
            "strategy": c.strategy,
            "strategy_source": strategy_source(c.strategy),
            "role": c.role,
            "delay_share": c.delay_share,
            "deployment": deployment(c, traits, model),
            "seed": c.seed,
            "tasks": list(c.tasks),
            "adapters": [a.name for a in c.adapters],
            "lora": [lora(a) for a in c.adapters],
            "num_labels": c.num_labels,
            "checkpoint": c.checkpoint,
            "dtype": c.dtype,
            "adapter_dtype": c.adapter_dtype,
            "routing": c.routing,
            "execution": c.execution,
            "form": c.form or traits[c.strategy].forms[0],
            "batch": c.batch,
            "kv_cache": c.kv_cache,
            "quantization": c.quantization,
            "servers": c.servers or None,
            "load": None if c.load is None else c.load.describe(),
            "block": home[c.name].name,
        }
        for c in plan.configurations
    ]


def describe(
    run_id: str,
    plan: Plan,
    workload: Workload,
    model: ModelSpec,
    workers: Sequence[Mapping[str, Any]],
    traits: Mapping[str, StrategyTraits],
    written_from: Sequence[str] = (),
    engine_python: str | None = None,
) -> dict[str, Any]:
    """The description of a new run, as JSON values.

    ``written_from``: the options that the plan was written from. ``engine_python``: that of the command line.
    """
    return {
        "run_id": run_id,
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "plan": describe_plan(plan),
        "model": {
            "name": model.name,
            "kind": model.kind,
            "location": model.location,
            "task_type": model.task_type,
        },
        "workload": workload.describe(),
        "configurations": describe_configurations(plan, traits, model),
        "comparisons": [
            {**one, "references": list(one["references"])} for one in map(dataclasses.asdict, plan.comparisons)
        ],
        "written_from": list(written_from),
        "environment": {
            "driver": {"machine": describe_machine(), "versions": package_versions()},
            "workers": [dict(worker) for worker in workers],
            "engine_python": engine_python,
        },
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two descriptions in what must be the same, one line each."""
    found = differing("schema version", old.get("schema_version", SCHEMA_VERSION), SCHEMA_VERSION)
    for key in FIXED:
        found += differing(key, old.get(key), new.get(key))
    versions = (described["environment"]["driver"]["versions"] for described in (old, new))
    found += differing("versions", *versions)
    # A deployment follows from what differs beside it.
    return [_line(where, a, b) for where, a, b in found if not where.endswith(".deployment")]


def _line(where: str, old: Any, new: Any) -> str:
    if isinstance(old, list) and isinstance(new, list):
        return f"{where}: {len(old)} {'entry' if len(old) == 1 else 'entries'}, now {len(new)}"
    return f"{where}: {old!r}, now {new!r}"
