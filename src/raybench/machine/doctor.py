"""What on this machine would spoil a measurement: all checks, or those that hold while it measures."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from raybench.machine.core_checks import core_checks
from raybench.machine.findings import CannotRead, Finding, Tree, findings_of
from raybench.machine.gpu_checks import gpu_checks, gpus_of, opened_nvml
from raybench.machine.limit_checks import limit_checks
from raybench.machine.load_checks import load_checks
from raybench.machine.memory_checks import LEAST_FREE_BYTES, disk, memory_checks
from raybench.machine.version_checks import version_checks

LOOK_S: Final = 0.5
"""How long it is looked at what others compute."""


def examine(
    results: Path | None = None,
    *,
    gpus: int | None = None,
    tree: Tree | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Finding]:
    """A finding of each check, of this machine and all its GPUs; takes about a second.

    ``results``: where runs are kept; None: not on a disk here. ``gpus``: how many Ray gives out here; None: not told.
    """
    tree = tree or Tree()
    places = {**_places(), **({} if results is None else {"results": results})}
    checks = {
        **load_checks(tree, LOOK_S, sleep),
        **core_checks(tree),
        **limit_checks(tree),
        **memory_checks(tree, places),
    }
    found = findings_of(checks)
    try:
        with opened_nvml(tree) as nvml:
            found += findings_of(version_checks(nvml))
            if nvml is not None:
                found += findings_of(gpu_checks(gpus_of(nvml), tree, at_rest=True, claimed=gpus))
    except CannotRead as reason:
        found.append(Finding("GPU", "unknown", str(reason)))
        found += findings_of(version_checks(None))
    return found


def examine_steady(device: str = "", *, tree: Tree | None = None) -> list[Finding]:
    """The short form: what holds while it measures too, of the machine and of the GPU ``device`` (its UUID).

    What others compute and a hypervisor takes meanwhile is for a `Watch` to see. Takes milliseconds.
    """
    tree = tree or Tree()
    found = findings_of({**core_checks(tree), **limit_checks(tree), **memory_checks(tree, _places())})
    if not device.startswith("GPU-"):
        return found
    try:
        with opened_nvml(tree) as nvml:
            if nvml is not None:
                found += findings_of(gpu_checks(gpus_of(nvml, device), tree, at_rest=False))
    except CannotRead as reason:
        found.append(Finding("GPU", "unknown", str(reason)))
    return found


def examine_results(results: Path) -> list[Finding]:
    """Of the disk that runs are kept on, where that is not of a machine that measures."""
    return findings_of({"disk": partial(disk, {"results": results}, LEAST_FREE_BYTES)})


def _places() -> Mapping[str, Path]:
    return {"temporary files": Path(tempfile.gettempdir())}
