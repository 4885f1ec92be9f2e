"""The SQL behind what the page shows, to run again: without what its file says of it."""

from __future__ import annotations

from raybench.analysis import shipped_sql


def text_of(name: str) -> str:
    """The query of one SQL file of the package."""
    return "\n".join(line for line in shipped_sql(name).splitlines() if not line.startswith("--")).strip()
