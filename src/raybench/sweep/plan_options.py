"""What ``raybench plan`` and ``raybench prepare`` can be told."""

import dataclasses
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from raybench.model import presets
from raybench.plan import Design, shipped_plans
from raybench.report import FLAT, completed, exclusive
from raybench.sweep.model_argument import MODEL

_INSTEAD: Final = exclusive("--toml", "--json")
DEFAULT_PLAN: Final = "rq2"
NAMED_PLAN: Final = Parameter(metavar="NAME|FILE.toml", completer=completed(shipped_plans, files=".toml"))

Plan = Annotated[str, NAMED_PLAN, Parameter(name="NAME|FILE.toml", help=f"shipped: {', '.join(shipped_plans())}")]
Preset = Annotated[str, Parameter(name="PRESET", choices=presets())]


@FLAT
@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """The options of ``raybench plan``."""

    design: Design = "paired"
    """default: paired"""
    model: Annotated[str | None, MODEL] = None
    """hold the plan against this model's files, too"""
    toml: Annotated[bool, _INSTEAD] = False
    """print the text of a shipped plan instead"""
    json: Annotated[bool, _INSTEAD] = False
    """everything as JSON"""


@FLAT
@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """The options of ``raybench prepare``."""

    plan: Annotated[str, NAMED_PLAN] = DEFAULT_PLAN
    """whose adapters to write (default: rq2)"""
    out: Annotated[Path | None, Parameter(metavar="DIR", completer=completed(tuple, files="/"))] = None
    """default: this machine's cache, where the sweep finds it"""
