"""What to type after advice: the run that brings what was lacking, or the table behind what was said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from raybench.analysis import LEAST_ROUNDS, Tables
from raybench.decide.advice import WayResult
from raybench.decide.evidence import Lack, Remedy
from raybench.report import FILE, are_too_many, order_options, plan_word, round_seconds, run_argument, shell_command

_WHY: Final[dict[Remedy, str]] = {
    "another plan": "a new run; or one of a plan of your own that has what is missing here",
    "another adapter": "a new run; OTHER=DIR: one more adapter of this base, by its name and folder",
    "mend": "a new run, once the cause is mended: what failed is not tried again, not by --resume either",
    "report": "a new run, once its strategy reports that number: --resume measures nothing again",
    "longer": "a new run: one that was begun keeps its length",
    "resume": "goes on with this run",
}
"""What takes more comes first: it brings what those below bring too."""

_TIMES_AS_LONG: Final = 20
"""A run that would have to be that many times as long again is no next step."""


def next_command(tables: Tables, lacks: Sequence[Lack], best: WayResult | None, ways: Sequence[WayResult]) -> str:
    """A command, and as a comment of the shell what it is for; ``lacks``: what the run of ``tables`` lacks."""
    if lacks:
        remedy = next(one for one in _WHY if any(lack.remedy == one for lack in lacks))
        times = max(lack.times for lack in lacks if lack.remedy == remedy)
        words = ["raybench", "sweep", *_sweep_options(tables, remedy, times)]
        return f"{shell_command(words)}    # {_WHY[remedy]}{_file_words(tables, remedy)}"
    command = shell_command(["raybench", "tables", run_argument(tables.root)])
    if best is not None and best.more_rounds:
        rounds = _rounds_taken(tables)
        if best.more_rounds < _TIMES_AS_LONG * rounds and not are_too_many(best.more_rounds, round_seconds(tables)):
            words = ["raybench", "sweep", *_sweep_options(tables, "longer", 1 + best.more_rounds / rounds)]
            return f"{shell_command(words)}    # settles how many GPUs; {_WHY['longer']}{_file_words(tables, 'longer')}"
    if best is not None:
        return f"{command}    # all numbers behind this"
    return f"{command}    # {_other_gpus(ways)}"


def whole_plan(tables: Tables) -> str:
    """The shipped plan that has every strategy, for a model like that of the run."""
    return "lm" if tables.description.model.task_type == "CAUSAL_LM" else "rq2"


def _sweep_options(tables: Tables, remedy: Remedy, times: float) -> list[str]:
    """This run's own options, ``times`` as long, or the shipped plan that has every strategy."""
    plan, model = tables.description.plan, tables.description.model
    # Prepared files are those of one plan's adapters; what a server has is said by the plan, or by what it is of.
    own = model.kind == "served" or (remedy == "another plan" and model.kind == "prepared")
    named = [] if own else ["--model", model.location or model.name]
    if remedy == "another plan":
        return ["--plan", whole_plan(tables), *named]
    of_adapters = list(tables.description.written_from)
    if remedy == "another adapter":
        place = of_adapters.index("--adapter") + 2
        of_adapters[place:place] = ["--adapter", "OTHER=DIR"]
    words = [*named, *of_adapters] if of_adapters else ["--plan", plan_word(plan), *named]
    if remedy == "resume":
        words += ["--results", str(tables.root.parent), "--run-id", tables.root.name, "--resume"]
    rounds, requests = plan.rounds, plan.requests
    if plan.until_halfwidth is None:
        words += ["--rounds", str(math.ceil(rounds * times)), "--requests", str(requests)]
    else:  # it may end after fewer rounds than this took, so what makes it surely longer is the requests of a round
        words += ["--until-halfwidth", str(plan.until_halfwidth), "--max-rounds", str(rounds)]
        words += ["--requests", str(math.ceil(requests * times * max(1.0, _rounds_taken(tables) / LEAST_ROUNDS)))]
    return words + order_options(plan)


def _rounds_taken(tables: Tables) -> int:
    rounds: int | None = tables.rows("SELECT max(round) + 1 AS n FROM visits")[0]["n"]
    return rounds or 0


def _file_words(tables: Tables, remedy: Remedy) -> str:
    plan = tables.description.plan
    if remedy == "another plan" or tables.description.written_from or plan_word(plan) != FILE:
        return ""
    return f"; {FILE}: the plan {plan.name}"


def _other_gpus(ways: Sequence[WayResult]) -> str:
    """What would make a way feasible where none is."""
    binds = {way.binds for way in ways}
    binds = binds - {"memory and slo"} or binds  # one reason is mended more easily than two
    if binds == {"memory"}:
        return "memory_and_load has what a model takes; then GPUs with more memory"
    if binds == {"slo"}:
        return "where the time goes; then a faster GPU or a longer SLO"
    if binds == {"memory and slo"}:
        return "memory and time of each; then GPUs with more memory, and faster ones or a longer SLO"
    return "memory and time of each; then GPUs with more memory, or for those that fit a faster GPU or a longer SLO"
