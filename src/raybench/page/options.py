"""What ``raybench report`` can be told."""

import dataclasses
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from raybench.compare import DevicesOptions
from raybench.decide import StatedNeeds
from raybench.report import FLAT, RunOptions, completed, exclusive

_FORM: Final = exclusive("--markdown", "--json")


@FLAT
@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportOptions(StatedNeeds, DevicesOptions, RunOptions):
    """In which form the page is written and where, of two runs what is said of them, and what is to be served."""

    out: Annotated[Path | None, Parameter(metavar="FILE", completer=completed(tuple, files=""))] = None
    """default: RUN-ID.html here, of two RUN-B-against-RUN-A.html; of --markdown and --json standard output"""
    force: bool = False
    """write over a file that is there"""
    markdown: Annotated[bool, _FORM] = False
    """for a pull request, without the plots; not with --json"""
    json: Annotated[bool, _FORM] = False
    """the numbers of the page, for programs"""
