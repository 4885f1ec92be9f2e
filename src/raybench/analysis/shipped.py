"""The SQL that the package ships."""

from __future__ import annotations

import re
from importlib import resources
from typing import Final

_VIEW: Final = re.compile(r"^CREATE OR REPLACE VIEW (?!raybench_)(\w+) AS", re.MULTILINE)


def shipped_sql(name: str) -> str:
    """The text of one SQL file of the package, by its name without the ending."""
    return resources.files("raybench").joinpath("analysis", "sql", f"{name}.sql").read_text("utf-8")


def table_names() -> list[str]:
    """Those that every run has, sorted; nothing of a run is read for it."""
    files = resources.files("raybench").joinpath("analysis", "sql").iterdir()
    return sorted({name for file in files for name in _VIEW.findall(file.read_text("utf-8"))})
