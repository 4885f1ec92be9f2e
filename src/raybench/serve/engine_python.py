"""The Python that runs an engine: often of an environment of its own, since engines pin what they are made with."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from raybench.records import InputError

_ASKED_WITHIN_S: Final = 60.0

_VERSIONS: Final = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
json.dump(found, sys.stdout)
"""


def find_python(given: str | None, module: str, package: str) -> str:
    """The Python to run an engine with: ``given``, a path or a program's name, else raybench's own.

    Raises InputError where ``given`` is no program, or raybench's own environment has no ``module``, which ``package``
    brings. Whether another Python has it is told by its server's start.
    """
    if given is not None:
        found = shutil.which(str(Path(given).expanduser()))
        if found is None:
            raise InputError(
                f"servers.python: {given}: no such program; give the Python of an environment with {package}"
            )
        return str(Path(found).absolute())  # not resolved: a virtual environment's Python is a link
    if importlib.util.find_spec(module) is None:
        raise InputError(
            f"{package} is not installed beside raybench, and need not be: set servers.python to the Python of an "
            "environment that has it"
        )
    return sys.executable


def versions_in(python: str, packages: Sequence[str]) -> dict[str, str]:
    """Of those of ``packages`` that ``python`` has installed the versions. Raises InputError where it cannot be run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(
            [python, "-c", _VERSIONS, *packages],
            capture_output=True,
            timeout=_ASKED_WITHIN_S,
            env=environment,
            check=True,
        )
        found = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise InputError(f"servers.python: {python} cannot be asked for its packages: {error}") from None
    return {str(name): str(version) for name, version in found.items()}
