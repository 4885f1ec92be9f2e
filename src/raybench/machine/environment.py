"""What a run ran on: versions, machine, settings. Two runs are compared only knowing what differs here."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import socket
from typing import Any

import psutil

import raybench
from raybench.machine.device import cpu_name

PACKAGES = ("torch", "transformers", "peft", "ray", "pyarrow", "duckdb", "scipy", "numpy")
OPTIONAL = ("bitsandbytes", "torchao")
"""What quantizes a base; named only where it is installed."""


def package_versions() -> dict[str, str]:
    """Versions of raybench, Python and what measures and analyses; read without importing any of it."""
    found = {"raybench": raybench.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "absent"
    for package in OPTIONAL:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def describe_machine() -> dict[str, Any]:
    """This host: names, cores and memory."""
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cores": os.cpu_count() or 0,
        "memory_bytes": psutil.virtual_memory().total,
    }


def gpu_settings() -> dict[str, Any]:
    """The visible GPU's driver and CUDA versions and its settings; empty without one. Imports torch."""
    import torch

    if not torch.cuda.is_available():
        return {}
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "uuid": f"GPU-{properties.uuid}",
        "memory_bytes": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
    }


def in_ray_job() -> bool:
    """Whether this process was started by ``ray job submit``."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
