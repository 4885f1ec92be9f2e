"""How many requests a written plan asks of each configuration in a visit, and how long a visit may take."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Final

from raybench.model import ModelFiles
from raybench.records import TaskType
from raybench.sweep.checked_plan import CheckedPlan
from raybench.sweep.estimate import CPU_LAYER_S, CPU_MODULE_S, GPUS, Estimate, Machine
from raybench.sweep.estimate_lines import estimates

LEAST_TIMEOUT_S, MOST_TIMEOUT_S = 1800.0, 86_400.0
SLOW_CORE: Final = Machine("a slow core", "cpu", 2e10, 5e9, None, CPU_LAYER_S, CPU_MODULE_S, apart=False)
"""A fifth to a third of what a core of a server does: as where several share it."""
_SLOW_VISIT_S = 600.0
_MOST_ON_A_CORE_S = 2 * 86_400.0
"""Of a run that would take longer on a slow core it is taken that it goes to GPUs."""
_TIMES, _ROUNDED_S = 3, 600


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """``requests`` timed and ``warmups`` before them, of each configuration in a visit, and when that must be over."""

    requests: int
    warmups: int
    visit_timeout_s: float = LEAST_TIMEOUT_S


USUAL: Final[Mapping[TaskType, Pace]] = {"SEQ_CLS": Pace(50, 10), "CAUSAL_LM": Pace(15, 3)}
SLOW: Final[Mapping[TaskType, Pace]] = {"SEQ_CLS": Pace(13, 2), "CAUSAL_LM": Pace(13, 1)}
"""Of models of which a visit at the usual pace takes more than ten minutes. In ten rounds these, too, give the 130
requests that a p95 needs, which `raybench decide` plans by."""


def suited_pace(checked: CheckedPlan) -> Pace:
    """What suits the model of ``checked``, which has the usual pace; the same on every machine."""
    plan, pace = checked.plan, USUAL[checked.plan.task_type]
    found = _estimate(checked)
    if found is not None and found.visit_s > _SLOW_VISIT_S:
        asked = None if plan.requests == pace.requests else plan.requests  # by --requests
        pace = SLOW[plan.task_type]
        slower = dataclasses.replace(plan, requests=asked or pace.requests, warmups=pace.warmups)
        found = _estimate(dataclasses.replace(checked, plan=slower))
    if found is None:
        return pace
    whole = math.ceil(_TIMES * found.visit_s / _ROUNDED_S) * _ROUNDED_S
    return dataclasses.replace(pace, visit_timeout_s=float(min(MOST_TIMEOUT_S, max(LEAST_TIMEOUT_S, whole))))


def _estimate(checked: CheckedPlan) -> Estimate | None:
    """On a slow core, if it would be over in two days there, else on the slowest GPU that is known."""
    files = ModelFiles()
    for machine in (SLOW_CORE, GPUS[0]):
        found = next((made for _, made in estimates(checked, [machine], files)), None)
        if found is None or found.time_s <= _MOST_ON_A_CORE_S or machine is not SLOW_CORE:
            return found
    return None
