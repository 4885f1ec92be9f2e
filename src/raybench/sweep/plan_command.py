"""``raybench plan``: what a plan would run, or all that would keep it from running."""

from __future__ import annotations

import dataclasses
from typing import Final

from raybench.plan import Adapter, Overrides, read_plan, shipped_plans
from raybench.records import InputError, Problems, count
from raybench.report import say, shell_command, write_json, write_text
from raybench.sweep.checked_plan import check_plan
from raybench.sweep.counted import planned_samples
from raybench.sweep.estimate_lines import estimate_lines
from raybench.sweep.plan_options import PlanOptions
from raybench.sweep.served_plan import missing_engines

_NOT_HERE: Final = "on this machine a sweep would not begin: {}"
"""A plan may be run elsewhere, so what is installed here is no fault of it."""


def show_plan(name: str, options: PlanOptions) -> int:
    """Raises InputError with every problem of the plan and of the files that it names."""
    if options.toml:
        return _print_text(name)
    problems = Problems()
    checked = check_plan(name, Overrides(design=options.design), options.model, problems)
    problems.raise_if_any()
    assert checked is not None
    plan = checked.plan
    checked = dataclasses.replace(checked, notes=(*checked.notes, *map(_NOT_HERE.format, missing_engines(plan))))
    words = ["raybench", "sweep", "--plan", name]
    words += [] if plan.design == "paired" else ["--design", plan.design]
    words += [] if options.model is None else ["--model", options.model]
    if options.json:
        from raybench.sweep.plan_json import plan_json  # which imports what describes a run

        write_json(plan_json(checked, words))
        return 0
    say(f"{plan.name}: {' '.join(plan.description.split())}")
    samples = planned_samples(plan)
    blocks, visits = len(plan.blocks), len(plan.blocks) * plan.rounds
    say(f"{count(len(plan.configurations), 'configuration')} in {count(blocks, 'block')} ({plan.design} design)")
    for block in plan.blocks:
        guests = f"  (compared with {', '.join(c.name for c in block.guests)})" if block.guests else ""
        say(f"  {block.name}: {', '.join(c.name for c in block.members)}{guests}")
    for adapter in plan.adapters():
        if adapter.path is not None:
            say(f"  adapter {adapter.name}: {_read(adapter)}")
    say(
        f"{count(plan.rounds, 'round')} of {count(plan.requests, 'request')}: {count(visits, 'visit')}, "
        f"{count(plan.rounds * plan.requests, 'sample')} a configuration, {samples.words()} in all "
        f"(and {count(plan.warmups, 'warm-up')} a configuration and visit)"
    )
    say(samples.explained())
    for line in estimate_lines(checked):
        say(line)
    for note in checked.notes:
        say(f"Caution: {note}")
    say(f"Run it: {shell_command(words)}")
    return 0


def _print_text(name: str) -> int:
    source = read_plan(name)
    if source.base is not None:
        raise InputError(f"--toml is for shipped plans ({', '.join(shipped_plans())}); {name} is a file already")
    write_text(source.text)
    return 0


def _read(adapter: Adapter) -> str:
    """What was read of an adapter's files."""
    targets = adapter.target_modules or ()
    shown = repr(targets) if isinstance(targets, str) else count(len(targets), "target module")
    if isinstance(targets, tuple) and len(targets) <= 4:
        shown = ", ".join(targets)
    if adapter.target_parameters:
        shown = ", ".join((*((shown,) if targets else ()), *adapter.target_parameters))
    return f"r {adapter.r}, alpha {adapter.alpha:g}, on {shown}; {adapter.path}"
