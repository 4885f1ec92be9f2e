"""The SQL that the package ships."""

from __future__ import annotations

from importlib import resources


def shipped_sql(name: str) -> str:
    """The text of one SQL file of the package, by its name without the ending."""
    return resources.files("raybench").joinpath("analysis", "sql", f"{name}.sql").read_text("utf-8")
