"""What a deployment does in one step of a request: counts that are the same each time, by PyTorch's and Python's tools.

Taken after everything was timed, of a request as it is served. Where something cannot be counted it is left out and why
is said; nothing is guessed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

from raybench.deploy.strategy import Deployment
from raybench.machine import Operations, compiled_operations_of, instructions_of, operations_of
from raybench.plan import Execution

_Found = TypeVar("_Found")
_LONGEST: Final = 300
"""Characters of what a library says."""

Prepared = Callable[[], AbstractContextManager[Callable[[], object]]]
"""Entered, it gives a step that is ready to be taken once; each time that it is entered one like the others."""


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """Of one step. ``instructions`` of Python; ``kernels`` that a GPU was given, None on a CPU.

    ``not_counted``: why any of the others, or a part of one, is not known; None where all is.
    """

    operations: Operations | None
    instructions: int | None
    kernels: int | None
    not_counted: str | None

    def row(self) -> dict[str, Any]:
        """Its columns in the table ``counts``."""
        did = dataclasses.asdict(self.operations) if self.operations else {}
        counted = {f.name: did.get(f.name) for f in dataclasses.fields(Operations) if f.name != "unknown"}
        others = {"instructions": self.instructions, "kernels": self.kernels, "not_counted": self.not_counted}
        return counted | others


def count(step: Prepared, deployment: Deployment, device_kind: str, execution: Execution) -> Counts:
    """What one ``step`` of ``deployment`` does, each count of one of its own. Raises nothing: why not is in the counts.

    What is compiled or captured for a GPU is seen by the profiler alone: kernels are counted then, not what they move.
    """
    if deployment.opener is not None:
        return Counts(None, None, None, "its forward does more than its model's, and is another each time")
    reasons: list[str] = []
    model = deployment.model
    weights = [*model.parameters(), *model.buffers()]
    operations = None
    if execution != "eager" and device_kind == "cuda":
        reasons.append("operations: what is compiled or captured for a GPU is not seen")
    else:
        operations = _tried(lambda: _operations_of(step, weights, execution), "operations", reasons)
        if operations is not None and execution != "eager":
            reasons.append("bytes are those of the uncompiled model: compiled, less is moved")
        if operations is not None and operations.unknown:
            reasons.append(f"FLOPs of {', '.join(operations.unknown)}: no formula for them")
    instructions = _tried(lambda: _taken(step, instructions_of), "instructions", reasons)
    kernels = None if device_kind == "cpu" else _tried(lambda: _taken(step, _kernels_of), "kernels", reasons)
    return Counts(operations, instructions, kernels, "; ".join(reasons) or None)


def _operations_of(step: Prepared, weights: list[Any], execution: Execution) -> Operations:
    if execution != "eager":
        return compiled_operations_of(step, weights)
    return _taken(step, lambda call: operations_of(call, weights))


def _taken(step: Prepared, counted: Callable[[Callable[[], object]], _Found]) -> _Found:
    with step() as call:
        return counted(call)


def _tried(counted: Callable[[], _Found], what: str, reasons: list[str]) -> _Found | None:
    try:
        return counted()
    except Exception as error:  # noqa: BLE001  whatever it is, what was measured stands without it
        text = " ".join(str(error).split())
        reasons.append(f"{what}: {type(error).__name__}: {text[:_LONGEST]}")
        return None


def _kernels_of(call: Callable[[], object]) -> int:
    """Kernels that the GPU was given, by torch's profiler; copies and fills of memory are none.

    Raises RuntimeError where it saw none: no step is without, but a profiler may lack the rights or the library.
    """
    import torch
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        call()
        torch.cuda.synchronize()
    kernels: int = sum(
        event.device_type == DeviceType.CUDA and not event.name.startswith(("Memcpy", "Memset"))
        for event in profiled.events()
    )
    if not kernels:
        raise RuntimeError("torch's profiler saw none")
    return kernels
