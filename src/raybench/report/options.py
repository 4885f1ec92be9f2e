"""What the commands that read a run, or remove it, can be told."""

import dataclasses
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from raybench.analysis import table_names
from raybench.report.arguments import FLAT
from raybench.report.completion import completed
from raybench.report.format_names import Format, Shown
from raybench.report.run_names import RunOptions

Query = Annotated[str | None, Parameter(name="SQL", help="default: statements from a prompt, or standard input")]


@FLAT
@dataclasses.dataclass(frozen=True, kw_only=True)
class TablesOptions(RunOptions):
    """The options of ``raybench tables``."""

    table: Annotated[str | None, Parameter(metavar="NAME", completer=completed(table_names))] = None
    """this one alone, any view of docs/sql.md, as by_strategy"""
    format: Format | None = None
    """as data: --table to standard output, or into --out"""
    out: Annotated[Path | None, Parameter(metavar="DIR", completer=completed(tuple, files="/"))] = None
    """with --format, a file of each table into this folder; of those with a row a request or visit if named"""


@FLAT
@dataclasses.dataclass(frozen=True, kw_only=True)
class SqlOptions(RunOptions):
    """The options of ``raybench sql``."""

    format: Shown = "box"
    """default: box"""
    unsafe: bool = False
    """the query may read and write files, the run's too, use the network and change settings"""


@FLAT
@dataclasses.dataclass(frozen=True, kw_only=True)
class RmOptions(RunOptions):
    """The options of ``raybench rm``."""

    yes: bool = False
    """do not ask"""
