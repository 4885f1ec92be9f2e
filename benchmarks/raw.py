"""What a benchmark measured, kept as JSON beside what it was measured on."""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata
from pathlib import Path

_PACKAGES = (
    *("torch", "transformers", "peft", "ray", "pyarrow", "duckdb", "numpy", "scipy"),
    *("pandas", "polars", "pyperf", "pytest-benchmark"),
)


def machine() -> dict[str, object]:
    """Cores, load over 1, 5 and 15 minutes, and versions."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "versions": versions,
    }


def write_raw(path: Path | None, figures: object) -> None:
    """To ``path``, where there is one."""
    if path is not None:
        path.write_text(json.dumps({"machine": machine(), "figures": figures}) + "\n")
