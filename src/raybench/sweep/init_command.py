"""``raybench init``: the plan that one's own adapters allow, as TOML to edit."""

from __future__ import annotations

import argparse

from raybench.plan import Overrides
from raybench.records import InputError, Problems
from raybench.report import complain, write_text
from raybench.sweep.model_argument import add_model_argument
from raybench.sweep.own_plan import add_fine_tune_arguments, check_own_plan


def add_init_arguments(p: argparse.ArgumentParser) -> None:
    """What ``raybench init`` can be told."""
    add_model_argument(p, "the base of the adapters; with --engine openai also what the server calls it")
    add_fine_tune_arguments(p)


def run_init(options: argparse.Namespace) -> int:
    """Print the plan, and to standard error what was found. Raises InputError for all that is wrong."""
    problems = Problems()
    if not options.adapter:
        raise InputError("no adapter: give one by --adapter NAME=DIR")
    own = check_own_plan(options, Overrides(engine_python=options.engine_python), problems)
    problems.raise_if_any()
    assert own is not None
    for line in (*own.found, *own.left_out, *own.checked.notes):
        complain(line)
    write_text(own.text)
    return 0
