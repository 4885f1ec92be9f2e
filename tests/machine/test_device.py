"""The CPU's clocks and memory counters."""

from __future__ import annotations

import os
import socket
from typing import Any

import numpy as np
import pytest
import torch

from raybench.machine.device import CpuDevice, Device, ResidentSet, Times, cpu_name, open_device

MB = 1_000_000


class Clock:
    """Stands still until something takes time."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def resident(size: int) -> np.ndarray[Any, Any]:
    """That much memory, every page touched. From 32 MB on the allocator gives it back as soon as it is freed."""
    return np.ones(size, np.uint8)


def test_a_known_time_comes_out_exactly_by_each_clock() -> None:
    clock = Clock(5_000_000_123)

    def call(**inputs: int) -> None:
        clock.now += inputs["ms"] * 1_000_000 + 7

    device = CpuDevice(clock=clock)
    assert device.time(call, {"ms": 26}) == Times(5_000_000_123, 26_000_007, 26_000_007, None)
    assert device.time(call, {"ms": 0}) == Times(5_026_000_130, 7, 7, None)


def test_the_clock_is_read_only_just_before_and_just_after_the_call() -> None:
    said: list[str] = []
    ticks = iter(range(100))

    def clock() -> int:
        said.append("clock")
        return next(ticks)

    device = CpuDevice(clock=clock)
    said.clear()
    device.time(lambda: said.append("call"), {})
    assert said == ["clock", "call", "clock"]


def test_the_call_gets_the_inputs_and_its_error_gets_out() -> None:
    got: dict[str, Any] = {}
    CpuDevice().time(lambda **values: got.update(values), {"input_ids": 1, "attention_mask": 2})
    assert got == {"input_ids": 1, "attention_mask": 2}

    def broken() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        CpuDevice().time(broken, {})


def test_times_are_integer_nanoseconds_of_a_clock_that_never_goes_back() -> None:
    device = CpuDevice()
    taken = [device.time(lambda: None, {}) for _ in range(1000)]
    assert all(type(t.started_ns) is int and type(t.wall_ns) is int and t.wall_ns >= 0 for t in taken)
    starts = [t.started_ns for t in taken]
    assert starts == sorted(starts)


def test_the_peak_sees_what_is_freed_again_and_the_present_does_not() -> None:
    device = CpuDevice()
    device.reset_peak()
    before = device.memory_bytes()
    resident(64 * MB)
    assert 60 * MB < device.peak_bytes() - before < 80 * MB
    assert device.memory_bytes() - before < 10 * MB
    block = resident(64 * MB)
    assert 60 * MB < device.memory_bytes() - before < 80 * MB
    assert block.nbytes == 64 * MB


def test_a_reset_starts_a_new_peak_and_the_processs_own_is_kept() -> None:
    device = CpuDevice()
    device.reset_peak()
    start = device.memory_bytes()
    resident(128 * MB)
    first = device.peak_bytes()
    device.reset_peak()
    assert device.peak_bytes() < start + 20 * MB
    resident(40 * MB)
    assert device.peak_bytes() < first - 64 * MB
    assert device.process_peak_bytes() >= first


def test_a_tensor_is_seen_too() -> None:
    device = CpuDevice()
    device.reset_peak()
    before = device.memory_bytes()
    tensor = torch.ones(16 * MB, dtype=torch.float32)
    assert 60 * MB < device.peak_bytes() - before < 80 * MB
    assert float(tensor[-1]) == 1.0


def test_without_proc_the_peak_is_what_is_resident_now(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any, **__: Any) -> str:
        raise FileNotFoundError

    memory = ResidentSet()
    monkeypatch.setattr("pathlib.Path.read_text", absent)
    monkeypatch.setattr("pathlib.Path.write_text", absent)
    memory.reset_peak()
    assert abs(memory.peak() - memory.now()) < 5 * MB
    assert cpu_name() == os.uname().machine


def test_the_cpu_is_opened_by_name() -> None:
    device: Device = open_device("cpu")
    assert (device.kind, device.identity) == ("cpu", f"cpu@{socket.gethostname()}")
    assert device.name == cpu_name() != ""
    device.synchronize()
