"""What rooms hand out: each name is imported when it is first asked for, so that a command imports what it runs.

A room's ``__init__`` says where its names are by imports that only type checkers and import-linter follow (``if
TYPE_CHECKING:``). `names_of` follows them one by one, later: looking at a plan needs no DuckDB, nor status SciPy.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def names_of(room: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of the package ``room`` (PEP 562). What it has found once is the package's own from then."""
    places: dict[str, str] = {}

    def __getattr__(name: str) -> Any:  # noqa: N807  the name that Python asks for
        package = sys.modules[room]
        if not places:
            places.update(_places(Path(str(package.__file__))))
        if name not in places:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(places[name]), name)
        setattr(package, name, found)
        return found

    return __getattr__


def _places(init: Path) -> dict[str, str]:
    """By name the module that ``init`` imports it from."""
    imports = (node for node in ast.walk(ast.parse(init.read_bytes())) if isinstance(node, ast.ImportFrom))
    return {alias.name: str(node.module) for node in imports for alias in node.names}
