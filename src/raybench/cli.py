"""The ``raybench`` command: look at a plan, prepare a model, read a run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from raybench import compare, decide, sweep
from raybench.analysis import Tables
from raybench.deploy import all_traits
from raybench.model import Recipe, cache_folder, glue_tasks, preset_shape, presets, write_preset
from raybench.plan import load_plan
from raybench.records import InputError
from raybench.report import (
    Parser,
    add_sql_arguments,
    open_console,
    print_everything,
    print_line,
    run_command,
    run_sql,
    shell_command,
)
from raybench.store import location_argument


def parser() -> Parser:
    """The command line."""
    top = Parser(prog="raybench", description="How to deploy a LoRA fine-tune, answered with evidence.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    p = commands.add_parser("sweep", help="run a plan and print its tables (also: python -m raybench.sweep)")
    sweep.add_arguments(p)
    p.set_defaults(run=sweep.run)

    p = commands.add_parser("init", help="write the plan that your own adapters allow, to edit")
    sweep.add_init_arguments(p)
    p.set_defaults(run=sweep.run_init)

    p = commands.add_parser("plan", help="what a plan would run, and all that would keep it from running")
    sweep.add_plan_arguments(p)
    p.set_defaults(run=sweep.show_plan)

    p = commands.add_parser("prepare", help="write a preset as Hugging Face files")
    p.add_argument("preset", choices=presets())
    p.add_argument("--plan", default="rq2", metavar="NAME|FILE.toml", help="whose adapters to write (default: rq2)")
    p.add_argument("--out", type=Path, metavar="DIR", help="default: this machine's cache, where the sweep finds it")
    p.set_defaults(run=_prepare)

    p = commands.add_parser("status", help="how far a run is: visits, failures, GPUs, rate, estimated end")
    sweep.add_status_arguments(p)
    p.set_defaults(run=sweep.run_status)

    p = commands.add_parser("tables", help="all tables of a run, from its raw samples")
    p.add_argument("directory", type=location_argument, metavar="RUN", help="the run's folder or URI")
    p.set_defaults(run=_tables)

    p = commands.add_parser("sql", any_order=True, help="any SQL over a run; without a query, a prompt")
    add_sql_arguments(p)
    p.set_defaults(run=run_sql)

    p = commands.add_parser("compare", help="the same verdicts between two runs of one plan, for regressions")
    compare.add_arguments(p)
    p.set_defaults(run=compare.run)

    p = commands.add_parser("decide", help="from a run to advice: how to deploy, on how many GPUs, at what cost")
    decide.add_arguments(p)
    p.set_defaults(run=decide.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, 1 for what failed, 2 for bad input, 128 + n after signal n."""

    def command() -> int:
        options = parser().parse_args(argv)
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)

    return run_command(command)


def _prepare(options: argparse.Namespace) -> int:
    if preset_shape(options.preset)["store"] != "files":
        raise InputError(f"{options.preset} is built on the device from its shape; there is nothing to prepare")
    plan, _ = load_plan(options.plan, all_traits(), glue_tasks())
    recipe = Recipe.of(options.preset, plan)
    folder: Path = options.out or cache_folder() / f"{recipe.preset}-{recipe.digest()}"
    made = write_preset(recipe, folder)
    say = partial(print_line, open_console())
    say(
        f"{folder}: {'written' if made else 'there already'}; {len(recipe.adapters)} adapters, "
        f"{len(recipe.full_ft)} fully fine-tuned models"
    )
    command = ["python", "-m", "raybench.sweep", "--plan", options.plan, "--model", str(folder)]
    say(f"Use it: {shell_command(command)}")
    return 0


def _tables(options: argparse.Namespace) -> int:
    print_everything(Tables(options.directory), open_console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
