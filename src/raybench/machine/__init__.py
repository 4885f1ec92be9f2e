"""What it is measured on: the device with its clocks and counters, and the environment around it."""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.machine.calibration import Calibration, calibrate
    from raybench.machine.core_speed import CoreSpeed, measure_core
    from raybench.machine.device import Device, Times, dtype_name, open_device, torch_dtype
    from raybench.machine.doctor import examine, examine_results, examine_steady
    from raybench.machine.environment import describe_machine, gpu_settings, in_ray_job, package_versions
    from raybench.machine.findings import Examined, Finding, doctor_notice, kept, listed
    from raybench.machine.instructions import instructions_of
    from raybench.machine.operations import Operations, compiled_operations_of, operations_of
    from raybench.machine.priority import in_real_time, priority_notice, take_priority
    from raybench.machine.watch import Watch
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "Calibration",
    "CoreSpeed",
    "Device",
    "Examined",
    "Finding",
    "Operations",
    "Times",
    "Watch",
    "calibrate",
    "compiled_operations_of",
    "describe_machine",
    "doctor_notice",
    "dtype_name",
    "examine",
    "examine_results",
    "examine_steady",
    "gpu_settings",
    "in_ray_job",
    "in_real_time",
    "instructions_of",
    "kept",
    "listed",
    "measure_core",
    "open_device",
    "operations_of",
    "package_versions",
    "priority_notice",
    "take_priority",
    "torch_dtype",
]
