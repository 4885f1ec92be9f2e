"""Checks of GPUs, through NVIDIA's management library: clocks, power, what throttles, who else is on them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from raybench.machine.findings import CannotRead, Look, Tree

_THROTTLED_BY: Final[Mapping[int, str]] = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "heat",
    0x40: "hardware, for heat",
    0x80: "power brake",
    0x100: "display clocks",
}
"""Bits of NVML's clock event reasons (nvml.h). Two are none of a throttle: idle (1) and clocks that were set (2)."""
_LOW_CLOCK: Final = 0.9
"""Of the highest clock: a GPU with nothing to do whose clock is below this lets it follow the load."""
_HELD_BYTES: Final = 1024**3
"""Of memory in use, where no process is seen: what the driver itself holds is less."""
_BUSY_PERCENT: Final = 5


class Gpu:
    """One GPU, as NVML knows it. What it cannot say raises `CannotRead`."""

    def __init__(self, nvml: Any, index: int) -> None:
        """``nvml``: the module, or what has its functions; ``index``: in the order of the bus."""
        self.nvml, self.index = nvml, index
        self.handle = ask(nvml, "nvmlDeviceGetHandleByIndex", index)

    def ask(self, function: str, *arguments: Any) -> Any:
        """What an NVML function says of this GPU."""
        return ask(self.nvml, function, self.handle, *arguments)

    def uuid(self) -> str:
        """``GPU-`` and its number, as torch's properties have it."""
        return text_of(self.ask("nvmlDeviceGetUUID"))

    def clock_mhz(self) -> int:
        """Of its multiprocessors, now."""
        return int(self.ask("nvmlDeviceGetClockInfo", self.nvml.NVML_CLOCK_SM))

    def throttled_by(self) -> list[str]:
        """Why its clock is lower than it could be, now; nothing where it is not."""
        try:
            bits = int(self.ask("nvmlDeviceGetCurrentClocksEventReasons"))
        except CannotRead:  # its name before the driver's version 535
            bits = int(self.ask("nvmlDeviceGetCurrentClocksThrottleReasons"))
        return [name for bit, name in _THROTTLED_BY.items() if bits & bit]

    def processes(self) -> dict[int, int]:
        """Of each process that is seen on it, by number, the bytes that it holds (0: not told)."""
        found = [*self.ask("nvmlDeviceGetComputeRunningProcesses")]
        with contextlib.suppress(CannotRead):  # not all have graphics
            found += self.ask("nvmlDeviceGetGraphicsRunningProcesses")
        return {int(one.pid): int(one.usedGpuMemory or 0) for one in found}


def ask(nvml: Any, function: str, *arguments: Any) -> Any:
    """Call a function of NVML. Raises `CannotRead` where there is none of that name, or it gives an error."""
    try:
        return getattr(nvml, function)(*arguments)
    except AttributeError:
        raise CannotRead(f"{function}: this nvidia-ml-py has no such function") from None
    except nvml.NVMLError as error:
        raise CannotRead(f"{function}: {error}") from None


def text_of(value: Any) -> str:
    """Older versions give bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@contextlib.contextmanager
def opened_nvml(tree: Tree) -> Iterator[Any]:
    """NVML, started; None on a machine without an NVIDIA driver. Raises `CannotRead` where there is one that fails."""
    if not any(tree.has(path) for path in ("proc/driver/nvidia", "dev/nvidiactl", "dev/dxg")):
        yield None
        return
    try:
        import pynvml
    except ImportError as error:
        raise CannotRead(f"NVIDIA's library cannot be asked: {error}; pip install nvidia-ml-py") from None
    ask(pynvml, "nvmlInit")
    try:
        yield pynvml
    finally:
        with contextlib.suppress(CannotRead):
            ask(pynvml, "nvmlShutdown")


def gpus_of(nvml: Any, uuid: str | None = None) -> list[Gpu]:
    """All GPUs, or that of a UUID. Raises `CannotRead`."""
    found = [Gpu(nvml, index) for index in range(int(ask(nvml, "nvmlDeviceGetCount")))]
    return found if uuid is None else [gpu for gpu in found if gpu.uuid() == uuid]


def gpu_checks(
    gpus: Sequence[Gpu], tree: Tree, *, at_rest: bool, claimed: int | None = None
) -> Mapping[str, Callable[[], Look]]:
    """The checks of each GPU, by name; all that hold while it measures too, and ``at_rest`` what else others do.

    ``claimed``: how many GPUs Ray gives out here.
    """
    steady: dict[str, Callable[[Gpu], Look]] = {
        "power cap": power_cap,
        "throttled": throttled,
        "MIG": mig,
        "memory errors": memory_errors,
        "shared": partial(shared, tree=tree, count=len(gpus), claimed=claimed),
    }
    others: dict[str, Callable[[Gpu], Look]] = (
        {"processes": partial(processes, tree=tree), "clocks": clocks} if at_rest else {}
    )
    return {
        f"GPU {gpu.index} {name}": partial(check, gpu) for gpu in gpus for name, check in {**others, **steady}.items()
    }


def processes(gpu: Gpu, tree: Tree) -> Look:
    """Others on a GPU take turns with what is measured, and its caches, memory and power."""
    found = gpu.processes()
    if found:
        named = [f"{_name(tree, pid)} ({pid}, {held / 1e6:,.0f} MB)" for pid, held in list(found.items())[:3]]
        return Look(f"{len(found)} on it: {', '.join(named)}", "end them, or measure on another GPU")
    held = int(gpu.ask("nvmlDeviceGetMemoryInfo").used)
    busy = int(gpu.ask("nvmlDeviceGetUtilizationRates").gpu)
    told = f"none seen, {held / 1e6:,.0f} MB in use, {busy} % busy"
    if held > _HELD_BYTES or busy > _BUSY_PERCENT:
        return Look(told, "somebody whom this user or container does not see uses it: look by nvidia-smi on its host")
    return Look(told)


def clocks(gpu: Gpu) -> Look:
    """A clock that follows the load needs some time to rise, and falls by heat. NVML does not tell whether one is
    locked: an idle GPU whose clock is near its highest has one that does not follow the load.
    """
    sm = gpu.nvml.NVML_CLOCK_SM
    now, highest = gpu.clock_mhz(), int(gpu.ask("nvmlDeviceGetMaxClockInfo", sm))
    if int(gpu.ask("nvmlDeviceGetUtilizationRates").gpu) > _BUSY_PERCENT:
        raise CannotRead(f"clock {now:,} of {highest:,} MHz while it computes: whether it follows the load is not seen")
    found = f"{now:,} of {highest:,} MHz with nothing to do"
    if now >= _LOW_CLOCK * highest:
        return Look(found)
    with contextlib.suppress(CannotRead):
        set_to = int(gpu.ask("nvmlDeviceGetApplicationsClock", sm))
        if set_to == now != int(gpu.ask("nvmlDeviceGetDefaultApplicationsClock", sm)):
            return Look(f"{found}, as it was set")
    return Look(
        f"{found}: it follows the load",
        f"nvidia-smi -i {gpu.index} --lock-gpu-clocks=MHZ (a clock that it can hold, below {highest}), as root",
    )


def power_cap(gpu: Gpu) -> Look:
    """Below its default a cap lowers the clock, by as much as the work of the moment takes."""
    cap = int(gpu.ask("nvmlDeviceGetEnforcedPowerLimit"))
    default = int(gpu.ask("nvmlDeviceGetPowerManagementDefaultLimit"))
    found = f"{cap / 1000:,.0f} W, by default {default / 1000:,.0f} W"
    if cap >= default:
        return Look(found)
    return Look(found, f"nvidia-smi -i {gpu.index} --power-limit={default // 1000}, as root")


def throttled(gpu: Gpu) -> Look:
    """Whether something holds the clock down now."""
    found = gpu.throttled_by()
    if not found:
        return Look("by nothing")
    return Look(
        f"clock held down by {', '.join(found)}",
        "cool it, raise its power cap, or lock a clock that it can hold (nvidia-smi --lock-gpu-clocks)",
    )


def mig(gpu: Gpu) -> Look:
    """Instances of one GPU share its power and its clock."""
    try:
        current, pending = gpu.ask("nvmlDeviceGetMigMode")
    except CannotRead as reason:
        if "Not Supported" in str(reason):
            return Look("it cannot be divided")
        raise
    if not current and not pending:
        return Look("off")
    return Look(
        "on: its instances share power and clock" if current else "on from the next reset",
        f"nvidia-smi -i {gpu.index} --multi-instance-gpu=0, as root, or leave its other instances idle",
    )


def memory_errors(gpu: Gpu) -> Look:
    """Errors that are corrected take time; a row that waits to be remapped may give more."""
    nvml = gpu.nvml
    counts = {}
    for name in ("CORRECTED", "UNCORRECTED"):
        kind = getattr(nvml, f"NVML_MEMORY_ERROR_TYPE_{name}")
        counts[name.lower()] = int(gpu.ask("nvmlDeviceGetTotalEccErrors", kind, nvml.NVML_VOLATILE_ECC))
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items()) + " since the driver was loaded"
    wrong = any(counts.values())
    with contextlib.suppress(CannotRead):  # only newer ones remap
        corrected, uncorrected, pending, failed = map(int, gpu.ask("nvmlDeviceGetRemappedRows"))
        rows = corrected + uncorrected
        told += f"; {rows:,} row{'' if rows == 1 else 's'} remapped"
        told += ", more at the next reset" if pending else ""
        told += ", and a remapping has failed" if failed else ""
        wrong = wrong or bool(pending or failed)
    return Look(told, "measure on another GPU; reset this one, or have it exchanged" if wrong else "")


def shared(gpu: Gpu, tree: Tree, count: int, claimed: int | None) -> Look:
    """Whether a GPU is given to several at once: by MPS, by a hypervisor, by Ray or what gives GPUs to containers."""
    if claimed is not None and claimed > count:
        return Look(
            f"Ray gives out {claimed} GPUs here, and there are {count}",
            "start Ray with --num-gpus as there are, and without time-slicing of the device plugin",
        )
    with contextlib.suppress(CannotRead):
        if gpu.ask("nvmlDeviceGetVirtualizationMode") == gpu.nvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU:
            return Look("a virtual GPU, which a hypervisor gives to several in turn", "a machine with a whole GPU")
    servers = [
        pid for pid in tree.names("proc") if pid.isdecimal() and _name(tree, int(pid)).startswith("nvidia-cuda-mps")
    ]
    if servers:
        return Look(
            f"MPS runs ({_name(tree, int(servers[0]))}, {servers[0]}): several processes compute at once",
            "echo quit | nvidia-cuda-mps-control",
        )
    return Look("not by MPS, a hypervisor or Ray, as far as is seen")


def _name(tree: Tree, pid: int) -> str:
    """Of a process, by the kernel; a question mark where it is not of this container, or gone."""
    try:
        return tree.text(f"proc/{pid}/comm")
    except CannotRead:
        return "?"
