"""NVIDIA's management library as a machine of sound GPUs would answer it, but for what a test changes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

UUID = "GPU-00000000-1111-2222-3333-444444444444"


class FakeNvml:
    """Functions by their names without ``nvml``, and what they give or raise; of one that is None there is none."""

    class NVMLError(Exception):
        """An error of any function."""

    NVML_CLOCK_SM = 1
    NVML_MEMORY_ERROR_TYPE_CORRECTED, NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 0, 1
    NVML_VOLATILE_ECC = 0
    NVML_GPU_VIRTUALIZATION_MODE_VGPU = 2

    def __init__(self, **said: Any) -> None:
        self.calls: list[str] = []
        self._said = {
            "Init": None,
            "Shutdown": None,
            "DeviceGetCount": 1,
            "DeviceGetHandleByIndex": "handle",
            "DeviceGetUUID": UUID,
            "DeviceGetClockInfo": 1980,
            "DeviceGetMaxClockInfo": 1980,
            "DeviceGetApplicationsClock": 1980,
            "DeviceGetDefaultApplicationsClock": 1980,
            "DeviceGetCurrentClocksEventReasons": 0x1,
            "DeviceGetComputeRunningProcesses": [],
            "DeviceGetGraphicsRunningProcesses": self.NVMLError("Not Supported"),
            "DeviceGetMemoryInfo": SimpleNamespace(used=600 * 2**20),
            "DeviceGetUtilizationRates": SimpleNamespace(gpu=0),
            "DeviceGetEnforcedPowerLimit": 700_000,
            "DeviceGetPowerManagementDefaultLimit": 700_000,
            "DeviceGetMigMode": [0, 0],
            "DeviceGetTotalEccErrors": 0,
            "DeviceGetRemappedRows": (0, 0, 0, 0),
            "DeviceGetVirtualizationMode": 0,
            "SystemGetCudaDriverVersion": 13000,
        } | {name.removeprefix("nvml"): value for name, value in said.items()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name.removeprefix("nvml") not in self._said:
            raise AttributeError(name)
        value = self._said[name.removeprefix("nvml")]

        def answer(*_: object) -> Any:
            self.calls.append(name)
            if isinstance(value, Exception):
                raise value
            return value

        return answer


def process(pid: int, used: int | None = 0) -> SimpleNamespace:
    """A process on a GPU."""
    return SimpleNamespace(pid=pid, usedGpuMemory=used)
