"""What happens to a machine while a visit measures: counters at its begin and end, a GPU's clock between turns.

Everything here is read outside of what is timed, and takes less than a millisecond.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from raybench.machine.device import Device
from raybench.machine.findings import CannotRead, Tree, number_of
from raybench.machine.gpu_checks import Gpu, gpus_of, opened_nvml
from raybench.machine.limit_checks import cpu_groups, throttled_ns
from raybench.machine.load_checks import ProcessorTime, processor_time

_EVERY_S: Final = 0.25


class _Counters(NamedTuple):
    """Since the machine, the group or the process began; None: cannot be read."""

    machine: ProcessorTime | None
    own_ns: int
    throttled_ns: int | None
    swapped_bytes: int | None


class Watch:
    """Looks at the machine around a visit's requests. Nothing that cannot be read is an error: it is null.

    Use as a context manager, which holds NVML open where the device is a GPU.
    """

    def __init__(
        self,
        device: Device,
        own_ns: Callable[[], int] = time.process_time_ns,
        *,
        tree: Tree | None = None,
        gpu: Gpu | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``own_ns``: the processor time that the visit has used up to now. ``gpu``: in place of the device's."""
        self._device, self._own_ns, self._tree, self._gpu, self._clock = device, own_ns, tree or Tree(), gpu, clock
        self._groups: list[str] = []
        self._looked_at = float("-inf")
        self._before: _Counters | None = None
        self._clocks: list[int] = []
        self._throttled: dict[str, None] = {}
        self._processes: list[int] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Watch:
        with contextlib.suppress(CannotRead):
            self._groups = cpu_groups(self._tree)
        if self._device.kind == "cuda" and self._gpu is None:
            with contextlib.suppress(CannotRead):
                nvml = self._stack.enter_context(opened_nvml(self._tree))
                found = [] if nvml is None else gpus_of(nvml, self._device.identity)
                self._gpu = found[0] if found else None
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def begin(self) -> None:
        """Before the first request."""
        self._see_processes()
        self._before = self._count()

    def between(self) -> None:
        """Before a turn: a GPU's clock, which falls again where it waits, every quarter of a second."""
        if self._gpu is None or self._clock() - self._looked_at < _EVERY_S:
            return
        self._looked_at = self._clock()
        with contextlib.suppress(CannotRead):
            self._clocks.append(self._gpu.clock_mhz())
        with contextlib.suppress(CannotRead):
            self._throttled.update(dict.fromkeys(self._gpu.throttled_by()))

    def end(self) -> dict[str, Any]:
        """After the last request: what happened since `begin`, as columns of ``visits``."""
        after, before = self._count(), self._before
        assert before is not None
        self._see_processes()
        found: dict[str, Any] = dict.fromkeys(
            ("processor_ns", "steal_ns", "others_cpu_ns", "throttled_ns", "swapped_bytes")
        )
        if before.machine is not None and after.machine is not None:
            busy, stolen, whole = (b - a for a, b in zip(before.machine, after.machine, strict=True))
            own_ns = max(0, after.own_ns - before.own_ns)
            found |= {"processor_ns": whole, "steal_ns": max(0, stolen), "others_cpu_ns": max(0, busy - own_ns)}
        for name in ("throttled_ns", "swapped_bytes"):
            was, has = getattr(before, name), getattr(after, name)
            found[name] = None if was is None or has is None else max(0, has - was)
        return found | {
            "gpu_clock_least_mhz": min(self._clocks, default=None),
            "gpu_clock_most_mhz": max(self._clocks, default=None),
            "gpu_throttled_by": ", ".join(self._throttled) if self._clocks else None,
            "gpu_processes": max(self._processes, default=None),
        }

    def _see_processes(self) -> None:
        if self._gpu is not None:
            with contextlib.suppress(CannotRead):
                self._processes.append(len(self._gpu.processes()))

    def _count(self) -> _Counters:
        machine, swapped = None, None
        with contextlib.suppress(CannotRead):
            machine = processor_time(self._tree)
        with contextlib.suppress(CannotRead, KeyError):
            fields = self._tree.fields("proc/vmstat")
            pages = sum(number_of(fields[name], "proc/vmstat") for name in ("pswpin", "pswpout"))
            swapped = pages * os.sysconf("SC_PAGE_SIZE")
        return _Counters(machine, self._own_ns(), throttled_ns(self._tree, self._groups), swapped)
