"""What ``raybench plan`` says of a plan's time and memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from raybench.machine import measure_core
from raybench.model import ModelFiles, adapter_size, model_shape
from raybench.plan import COMPILED, Plan
from raybench.records import InputError, count
from raybench.report import duration
from raybench.sweep.checked_plan import CheckedPlan
from raybench.sweep.estimate import GPUS, Estimate, Machine, estimate, this_core


def estimate_lines(checked: CheckedPlan) -> list[str]:
    """A few lines, which say that they are an estimate, and of which model where the device decides."""
    if checked.plan.servers:
        return ["Estimate: none, since each visit first starts its servers; a first round shows what that takes"]
    files = ModelFiles()
    on_core = estimates(checked, [this_core(measure_core())], files)
    on_gpus = estimates(checked, GPUS, files)
    if not on_core or not on_gpus:
        return ["Estimate: none, since the model's files do not say how many parameters it has"]
    core, gpus = on_core[0][1], _alike([(f"{m.name}{_fits(m, e)}", duration(e.time_s)) for m, e in on_gpus])
    gpu = on_gpus[0][1]
    of_core, of_gpu = ("", "") if checked.model is not None else (_named(checked, "cpu"), _named(checked, "cuda"))
    lines = [
        "Estimate, worked out and not measured; half as long or twice as long would be no surprise:",
        f"  with one worker {duration(core.time_s)} on a core of this machine{of_core}; {gpus}{of_gpu}",
        f"  memory {_bytes(core.memory_bytes)} on a CPU{of_core}, {_bytes(gpu.memory_bytes)} on a GPU{of_gpu}, besides "
        f"activations and what libraries take: block {gpu.block} holds {count(gpu.models, 'model')} at once",
    ]
    if core.untied_bytes:
        lines.append(
            f"  in it {_bytes(core.untied_bytes)} on a CPU, {_bytes(gpu.untied_bytes)} on a GPU for a copy of the "
            "embeddings, which the base ties to its output and an adapter that is merged changes on one side"
        )
    if compiled := sum(c.execution in COMPILED for c in checked.plan.configurations):
        lines.append(
            f"  compiling comes on top: {count(compiled, 'configuration')}, about a minute each the first time on a "
            "machine, and some ten seconds in each later visit"
        )
    if gpu.models > 1 and all(_too_large(machine, made) for machine, made in on_gpus):
        lines.append("  more than any of these GPUs has: --design independent holds one model at a time")
    slowest = [("a core of this machine", core), (f"an {on_gpus[0][0].name}", gpu)]
    return lines + [line for name, made in slowest if (line := _too_long(checked.plan, name, made)) is not None]


def _too_long(plan: Plan, machine: str, made: Estimate) -> str | None:
    """That a visit may be given up before it is done."""
    if made.visit_s <= plan.visit_timeout_s:
        return None
    return (
        f"  a visit of {made.longest} may take {duration(made.visit_s)} on {machine}, and is given up after "
        f"visit_timeout_s = {plan.visit_timeout_s:g}"
    )


def estimates(checked: CheckedPlan, machines: Sequence[Machine], files: ModelFiles) -> list[tuple[Machine, Estimate]]:
    """Those that can be made: none of a model whose files do not tell its size."""
    spec, plan = checked.model_on(machines[0].kind), checked.plan
    try:
        shape = model_shape(spec, files)
        sizes = {a.name: adapter_size(a, shape, plan.task_type, files) for a in plan.adapters()}
    except InputError:  # what is wrong with them has been told, or they are not on this machine
        return []
    requests = checked.workload(spec)
    made = [(machine, estimate(plan, requests, shape, sizes, machine)) for machine in machines]
    return [(machine, one) for machine, one in made if one is not None]


def _named(checked: CheckedPlan, kind: Literal["cpu", "cuda"]) -> str:
    return f" ({checked.model_on(kind).name})"


def _fits(machine: Machine, made: Estimate) -> str:
    return f" (whose {(machine.memory_bytes or 0) // 10**9} GB it does not fit)" if _too_large(machine, made) else ""


def _too_large(machine: Machine, made: Estimate) -> bool:
    return machine.memory_bytes is not None and made.memory_bytes > machine.memory_bytes


def _bytes(count: int) -> str:
    """``1.3 GB``, ``24 MB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"


def _alike(times: Sequence[tuple[str, str]]) -> str:
    """Machine and time each, those of one time together: ``3 min on an L4 or A10G, 2 min on an H100``."""
    by_time: dict[str, list[str]] = {}
    for machine, time in times:
        by_time.setdefault(time, []).append(machine)
    return ", ".join(f"{time} on an {_one_of(machines)}" for time, machines in by_time.items())


def _one_of(names: Sequence[str]) -> str:
    """``L4, A10G or A100``."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
