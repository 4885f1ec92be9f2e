"""Checks of what is installed: against what raybench needs, and torch against the GPU's driver."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from raybench.machine.findings import CannotRead, Look
from raybench.machine.gpu_checks import ask

_REMEDY: Final = "pip install -U raybench, in the environment that runs it"


def version_checks(nvml: Any) -> Mapping[str, Callable[[], Look]]:
    """The checks of what is installed, by name. ``nvml``: None without a GPU."""
    checks: dict[str, Callable[[], Look]] = {"versions": partial(versions, needed)}
    if nvml is not None:
        checks["driver"] = partial(driver, nvml, cuda_of_torch)
    return checks


def needed() -> list[str]:
    """What raybench says that it needs. Raises `CannotRead` where it was not installed."""
    try:
        return importlib.metadata.requires("raybench") or []
    except importlib.metadata.PackageNotFoundError:
        raise CannotRead("raybench is not installed here as a package, which would say what it needs") from None


def versions(needs: Callable[[], Iterable[str]]) -> Look:
    """Whether what is installed is what raybench needs. ``needs``: gives requirements as packages state them."""
    from packaging.requirements import Requirement

    wrong: list[str] = []
    count = 0
    for requirement in map(Requirement, needs()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        count += 1
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} {installed} is not {requirement.specifier}")
    return Look("; ".join(wrong), _REMEDY) if wrong else Look(f"{count} packages are as raybench needs them")


def driver(nvml: Any, built_for: Callable[[], str | None]) -> Look:
    """Whether the driver can run what torch was built for. ``built_for``: a CUDA version; None: without CUDA."""
    number = int(ask(nvml, "nvmlSystemGetCudaDriverVersion"))
    runs = f"{number // 1000}.{number % 1000 // 10}"
    built = built_for()
    if built is None:
        return Look("torch was built without CUDA, and there is a GPU", "pip install torch as pytorch.org says for it")
    # A driver runs what is built for its own major version, newer minor ones too, and for those before.
    if number // 1000 < _major(built):
        return Look(
            f"the driver runs CUDA {runs}, torch was built for {built}",
            f"a driver for CUDA {_major(built)}, or a torch built for {number // 1000}",
        )
    return Look(f"runs CUDA {runs}, torch was built for {built}")


def cuda_of_torch() -> str | None:
    """The CUDA version that torch was built for, without importing it; None: for none. Raises `CannotRead`."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        raise CannotRead("torch is not installed")
    file = Path(found.origin).with_name("version.py")
    try:
        body = ast.parse(file.read_bytes()).body
    except (OSError, SyntaxError) as error:
        raise CannotRead(f"{file}: {error}") from None
    for line in body:
        match line:
            case (
                ast.AnnAssign(target=ast.Name(id="cuda"), value=ast.Constant(value=value))
                | ast.Assign(targets=[ast.Name(id="cuda")], value=ast.Constant(value=value))
            ):
                return None if value is None else str(value)
    raise CannotRead(f"{file} does not say for which CUDA it was built")


def _major(version: str) -> int:
    try:
        return int(version.partition(".")[0])
    except ValueError:
        raise CannotRead(f"torch was built for CUDA {version[:40]!r}, which is no version") from None
