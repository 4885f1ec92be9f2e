"""The device that a visit measures on: its three clocks and its memory counters.

The clock is a seam: every duration comes from the one callable a device is given, so a test can put a known
latency in and ask for it back from the tables.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import psutil

if TYPE_CHECKING:
    import torch

Clock = Callable[[], int]
"""Monotonic integer nanoseconds."""


class Times(NamedTuple):
    """When a call started and how long it took, by each clock, in nanoseconds."""

    started_ns: int
    host_ns: int
    wall_ns: int
    device_ns: int | None


class Device(Protocol):
    """What measuring needs of a device."""

    clock: Clock

    @property
    def kind(self) -> str:
        """``cpu`` or ``cuda``, as torch names it."""

    @property
    def identity(self) -> str:
        """What tells this device from others: a GPU's UUID; ``cpu@`` and the host's name."""

    @property
    def name(self) -> str:
        """The model name, for people."""

    def time(self, call: Callable[..., object], inputs: Mapping[str, Any]) -> Times:
        """Call once and time it; nothing else happens in between."""

    def synchronize(self) -> None:
        """Wait until the device has finished what it was given."""

    def memory_bytes(self) -> int:
        """Bytes in use now, by the device's own counter."""

    def kept_bytes(self) -> int:
        """Bytes that others cannot have now: in use, or kept for use by an allocator or a captured graph."""

    def reset_peak(self) -> None:
        """Start a new peak from what is in use now."""

    def peak_bytes(self) -> int:
        """The most bytes in use since `reset_peak`."""

    def process_peak_bytes(self) -> int:
        """The most host memory that this process has held resident."""


class ResidentSet:
    """This process's resident memory in bytes, with a peak that can be reset (Linux's VmHWM)."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._highest = 0

    def now(self) -> int:
        return int(self._process.memory_info().rss)

    def peak(self) -> int:
        with contextlib.suppress(OSError):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return self.now()

    def highest(self) -> int:
        """The peak over the whole life of the process, whatever was reset."""
        self._highest = max(self._highest, self.peak())
        return self._highest

    def reset_peak(self) -> None:
        self.highest()
        # Memory that was freed but kept by the allocator would hide what is loaded next.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # 5: reset the peak (man 5 proc)


class CpuDevice:
    """The CPU: a call has finished when it returns, so host and wall time are one reading."""

    kind = "cpu"

    def __init__(self, clock: Clock = time.perf_counter_ns) -> None:
        self.clock = clock
        self.name = cpu_name()
        self.identity = f"cpu@{socket.gethostname()}"
        self._memory = ResidentSet()

    def time(self, call: Callable[..., object], inputs: Mapping[str, Any]) -> Times:
        clock = self.clock
        started = clock()
        call(**inputs)
        elapsed = clock() - started
        return Times(started, elapsed, elapsed, None)

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def memory_bytes(self) -> int:
        return self._memory.now()

    def kept_bytes(self) -> int:
        return self._memory.now()

    def reset_peak(self) -> None:
        self._memory.reset_peak()

    def peak_bytes(self) -> int:
        return self._memory.peak()

    def process_peak_bytes(self) -> int:
        return self._memory.highest()


class CudaDevice:
    """One CUDA GPU: host and wall differ by what was still queued, events time the device itself."""

    kind = "cuda"

    def __init__(self, clock: Clock = time.perf_counter_ns) -> None:
        import torch

        self.clock = clock
        self._cuda = torch.cuda
        self._memory = ResidentSet()
        properties = torch.cuda.get_device_properties(0)
        self.name = str(properties.name)
        self.identity = f"GPU-{properties.uuid}"
        self._start = torch.cuda.Event(enable_timing=True)
        self._end = torch.cuda.Event(enable_timing=True)

    def time(self, call: Callable[..., object], inputs: Mapping[str, Any]) -> Times:
        clock = self.clock
        self._start.record()
        started = clock()
        call(**inputs)
        returned = clock()
        self._end.record()
        self._cuda.synchronize()
        finished = clock()
        device_ns = round(self._start.elapsed_time(self._end) * 1e6)  # elapsed_time is in milliseconds
        return Times(started, returned - started, finished - started, device_ns)

    def synchronize(self) -> None:
        self._cuda.synchronize()

    def memory_bytes(self) -> int:
        return int(self._cuda.memory_allocated())

    def kept_bytes(self) -> int:
        return int(self._cuda.memory_reserved())

    def reset_peak(self) -> None:
        self._cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> int:
        return int(self._cuda.max_memory_allocated())

    def process_peak_bytes(self) -> int:
        return self._memory.highest()


def open_device(kind: str) -> Device:
    """The device of this process: ``cuda`` means the first GPU that CUDA_VISIBLE_DEVICES shows."""
    return CudaDevice() if kind == "cuda" else CpuDevice()


def cpu_name() -> str:
    """The processor's model name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return os.uname().machine


def dtype_name(name: str, kind: str) -> str:
    """The name of the dtype that a plan names; ``auto`` is float32 on a CPU and bfloat16 on a GPU."""
    if name == "auto":
        return "bfloat16" if kind == "cuda" else "float32"
    return name


def torch_dtype(name: str, kind: str) -> torch.dtype:
    """The dtype of that name."""
    import torch

    found = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return found[dtype_name(name, kind)]
