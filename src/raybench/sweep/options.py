"""What a sweep can be told on the command line."""

import dataclasses
from typing import Annotated, Final

from cyclopts import Parameter

from raybench.plan import Design
from raybench.report import FLAT, PLACE, parsed_by, whole_number
from raybench.store import Location
from raybench.sweep.fine_tune_options import FineTuneOptions
from raybench.sweep.model_argument import MODEL
from raybench.sweep.plan_options import NAMED_PLAN

_UNITS_S: Final = {"min": 60.0, "h": 3600.0, "s": 1.0, "": 1.0}


def share(text: str) -> float:
    """``1%`` or ``0.01``."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise ValueError(f"expected a share between 0 and 1, such as 1% or 0.01, got {text[:40]!r}")
    return value


def seconds(text: str) -> float:
    """``90``, ``90s``, ``15min`` or ``1h`` in seconds."""
    unit = next(unit for unit in _UNITS_S if text.endswith(unit))
    try:
        value = float(text.removesuffix(unit)) * _UNITS_S[unit]
    except ValueError:
        value = -1.0
    if not 0 <= value <= 604_800:
        raise ValueError(f"expected a time of at most a week, such as 90s or 15min, got {text[:40]!r}")
    return value


_COUNT: Final = Parameter(metavar="N", converter=parsed_by(whole_number(1, 1_000_000)))
_SEED: Final = Parameter(metavar="N", converter=parsed_by(whole_number(0, 2**62, "a number from 0 to 2^62")))
_TIME: Final = Parameter(metavar="TIME", converter=parsed_by(seconds))


@FLAT
@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepOptions(FineTuneOptions):
    """The options of ``raybench sweep``; None: not stated, and a plan may say it."""

    plan: Annotated[str | None, NAMED_PLAN] = None
    """a shipped plan or a file (default: rq2)"""
    results: Annotated[Location | None, PLACE] = None
    """where runs are kept: a folder, s3://BUCKET/PREFIX or gs://... (default: data/runs)"""
    run_id: Annotated[str | None, Parameter(metavar="ID")] = None
    """the run's name (default: plan and time)"""
    model: Annotated[str | None, MODEL] = None
    """default: micro on a CPU, tinyllama-1.1b on a GPU"""
    rounds: Annotated[int | None, _COUNT] = None
    """visits of each block"""
    requests: Annotated[int | None, _COUNT] = None
    """requests of a configuration in a round"""
    design: Design = "paired"
    """default: paired"""
    order_seed: Annotated[int | None, _SEED] = None
    """draws the order of turns"""
    until_halfwidth: Annotated[
        float | None,
        Parameter(
            metavar="P%",
            converter=parsed_by(share),
            help="add rounds until the claims' 95 % intervals are this narrow (1%), and surely so; on one GPU, or 4 or "
            "more",
        ),
    ] = None
    max_rounds: Annotated[int | None, _COUNT] = None
    """rounds at most with --until-halfwidth (default: 50)"""
    resume: bool = False
    """go on with a run (--run-id, or the newest of the plan)"""
    new_run: bool = False
    """with --resume: begin a new run where there is none to go on with, or it was begun otherwise"""
    address: Annotated[str | None, Parameter(metavar="ADDR")] = None
    """a Ray cluster to join (default: Ray is started here)"""
    accelerator_type: Annotated[str | None, Parameter(metavar="TYPE")] = None
    """use only GPUs of this type, as Ray names it (L4)"""
    workers: Annotated[int | None, _COUNT] = None
    """workers at most, and to ask the cluster for"""
    workers_per_node: Annotated[int, _COUNT] = 1
    """without GPUs (default: 1)"""
    wait: Annotated[float | None, _TIME] = None
    """how long to be without any worker (default: 15min on a cluster that is joined, 2min here)"""
    no_report: bool = False
    """do not write the run's page, report.html, at its end"""
