"""What a message means for who watches."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console

from raybench.cluster.agenda import Agenda
from raybench.plan.plan import Plan
from raybench.sweep.progress import RunProgress
from raybench.sweep.reactions import react
from raybench.visit.visit import Loaded
from runs import job_of


def test_what_a_load_found_of_the_model_is_said_once(load_plan: Callable[..., Plan]) -> None:
    agenda = Agenda(job_of(load_plan()))
    spec = agenda.next()
    assert spec is not None
    log = io.StringIO()
    recorder: Any = None  # nothing is recorded of a load before its visit is over
    nothing = dict.fromkeys(("random_weights", "unused_adapter", "adapter_effect", "gate_tolerance"))
    weak = {"adapter_effect": 1e-5, "gate_tolerance": 1e-4}
    with RunProgress(Console(file=log, width=200), total=1, rounds=1, clock=lambda: 0.0) as progress:
        for found in (
            {"random_weights": "base: score.weight"},
            {"random_weights": "base: score.weight"} | weak,
            {"unused_adapter": "/models/mine"},
            {},
            {"random_weights": "base: score.weight", "unused_adapter": "/models/mine"},
        ):
            react(spec, Loaded({"configuration": "one"} | nothing | found), agenda, recorder, progress)
    assert log.getvalue().splitlines() == [
        "[00:00] Caution: base has no score.weight: drawn at random, the same for all",
        "[00:00] Caution: /models/mine holds an adapter beside the model: the model was loaded without it",
    ]
