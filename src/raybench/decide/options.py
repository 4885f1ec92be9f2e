"""What is to be served, as options of a command."""

import dataclasses
from typing import Annotated, Final

from cyclopts import Group, Parameter

from raybench.records import InputError
from raybench.report import FLAT, RunOptions, option_name

_NEEDS: Final = Group(
    "What is to be served",
    sort_key=1,
    help="Advice needs all of --tasks, --gpu-memory and --requests-per-second, and a limit: --slo-p95, or of servers "
    "--ttft, --tpot or the plan's own.",
)


def _need(metavar: str) -> Parameter:
    return Parameter(metavar=metavar, group=_NEEDS)


@FLAT
@dataclasses.dataclass(frozen=True, kw_only=True)
class StatedNeeds:
    """What is to be served, as it was typed; None: not stated."""

    tasks: Annotated[str | None, _need("N")] = None
    """how many fine-tunes are to be served"""
    gpu_memory: Annotated[str | None, _need("SIZE")] = None
    """of one GPU, free for models: 24GB, 24GiB"""
    slo_p95: Annotated[str | None, _need("TIME")] = None
    """95 % of requests answered within: 40ms, 0.04s"""
    ttft: Annotated[str | None, _need("TIME")] = None
    """of servers, 95 % of requests have their first token within"""
    tpot: Annotated[str | None, _need("TIME")] = None
    """and each further one, on average (default: the plan's goodput)"""
    requests_per_second: Annotated[str | None, _need("RATE")] = None
    """over all tasks together"""
    switches: Annotated[str | None, _need("SHARE")] = None
    """share of a GPU's requests for another task than the one before: 0.3, 30% (default: the worst, 1)"""
    gpu_price: Annotated[str | None, _need("PRICE")] = None
    """of one GPU for an hour, in any currency"""


@FLAT
@dataclasses.dataclass(frozen=True, kw_only=True)
class DecideOptions(StatedNeeds, RunOptions):
    """The options of ``raybench decide``."""

    json: bool = False
    """for programs"""


def stated(needs: StatedNeeds) -> list[str]:
    """The options that were typed."""
    return [
        option_name(field.name) for field in dataclasses.fields(StatedNeeds) if getattr(needs, field.name) is not None
    ]


def required(needs: StatedNeeds) -> tuple[str, str, str]:
    """What no advice is without: tasks, memory of a GPU, requests a second. Raises InputError with all that lack."""
    found = {name: getattr(needs, name) for name in ("tasks", "gpu_memory", "requests_per_second")}
    if absent := [option_name(name) for name, value in found.items() if value is None]:
        raise InputError(
            f"{', '.join(absent)}: missing; advice needs all of --tasks, --gpu-memory and --requests-per-second"
        )
    return found["tasks"], found["gpu_memory"], found["requests_per_second"]
