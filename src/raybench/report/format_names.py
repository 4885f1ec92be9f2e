"""As what rows can be had, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

Format = Literal["csv", "json", "markdown", "parquet"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
ENDINGS: Final[Mapping[Format, str]] = {"csv": "csv", "json": "json", "markdown": "md", "parquet": "parquet"}
"""Of the names of files."""

Shown = Literal["box", Format]
"""A box is for people."""
