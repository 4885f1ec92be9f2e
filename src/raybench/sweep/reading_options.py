"""What ``raybench runs``, ``status`` and ``doctor`` can be told."""

import dataclasses
from typing import Annotated

from cyclopts import Parameter

from raybench.report import FLAT, PLACE, RunOptions
from raybench.store import DEFAULT_RESULTS, Location


@FLAT
@dataclasses.dataclass(frozen=True, kw_only=True)
class RunsOptions:
    """The options of ``raybench runs``."""

    results: Annotated[Location, PLACE] = DEFAULT_RESULTS
    """where they are kept (default: data/runs)"""
    json: bool = False
    """everything as JSON"""


@FLAT
@dataclasses.dataclass(frozen=True, kw_only=True)
class StatusOptions(RunOptions):
    """The options of ``raybench status``."""

    json: bool = False
    """everything as JSON"""


@FLAT
@dataclasses.dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """The options of ``raybench doctor``."""

    address: Annotated[str | None, Parameter(metavar="ADDR")] = None
    """a Ray cluster, each node of which is asked (default: this machine)"""
    results: Annotated[Location, PLACE] = DEFAULT_RESULTS
    """where runs are to be kept, whose disk is looked at, too (default: data/runs)"""
    json: bool = False
    """everything as JSON"""
