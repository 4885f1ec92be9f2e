"""The ``raybench`` command: look at a plan, prepare a model, read a run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from raybench import analysis, compare, decide, deploy, model, plan, report, store, sweep
from raybench.records import InputError
from raybench.report import Parser, run_command


def parser() -> Parser:
    """The command line."""
    top = Parser(prog="raybench", description="How to deploy a LoRA fine-tune, answered with evidence.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # What a room hands out is imported when it is asked for: of the command that is run, and of no other.
    commands.add_parser(
        "sweep",
        help="run a plan and print its tables (also: python -m raybench.sweep)",
        command=lambda: (sweep.add_arguments, sweep.run),
    )
    commands.add_parser(
        "init",
        help="write the plan that your own adapters allow, to edit",
        command=lambda: (sweep.add_init_arguments, sweep.run_init),
    )
    commands.add_parser(
        "plan",
        help="what a plan would run, and all that would keep it from running",
        command=lambda: (sweep.add_plan_arguments, sweep.show_plan),
    )
    commands.add_parser(
        "prepare",
        help="write a preset as Hugging Face files",
        command=lambda: (_add_prepare_arguments, _prepare),
    )
    commands.add_parser(
        "status",
        help="how far a run is: visits, failures, GPUs, rate, estimated end",
        command=lambda: (sweep.add_status_arguments, sweep.run_status),
    )
    commands.add_parser(
        "tables",
        help="all tables of a run, from its raw samples",
        command=lambda: (_add_tables_arguments, _tables),
    )
    commands.add_parser(
        "sql",
        any_order=True,
        help="any SQL over a run; without a query, a prompt",
        command=lambda: (report.add_sql_arguments, report.run_sql),
    )
    commands.add_parser(
        "compare",
        help="the same verdicts between two runs of one plan, for regressions",
        command=lambda: (compare.add_arguments, compare.run),
    )
    commands.add_parser(
        "decide",
        help="from a run to advice: how to deploy, on how many GPUs, at what cost",
        command=lambda: (decide.add_arguments, decide.run),
    )
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, 1 for what failed, 2 for bad input, 128 + n after signal n."""

    def command() -> int:
        options = parser().parse_args(argv)
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)

    return run_command(command)


def _prepare(options: argparse.Namespace) -> int:
    if model.preset_shape(options.preset)["store"] != "files":
        raise InputError(f"{options.preset} is built on the device from its shape; there is nothing to prepare")
    parsed, _ = plan.load_plan(options.plan, deploy.all_traits(), model.glue_tasks())
    recipe = model.Recipe.of(options.preset, parsed)
    folder: Path = options.out or model.cache_folder() / f"{recipe.preset}-{recipe.digest()}"
    made = model.write_preset(recipe, folder)
    report.say(
        f"{folder}: {'written' if made else 'there already'}; {len(recipe.adapters)} adapters, "
        f"{len(recipe.full_ft)} fully fine-tuned models"
    )
    command = ["python", "-m", "raybench.sweep", "--plan", options.plan, "--model", str(folder)]
    report.say(f"Use it: {report.shell_command(command)}")
    return 0


def _tables(options: argparse.Namespace) -> int:
    report.print_everything(analysis.Tables(options.directory), report.open_console())
    return 0


def _add_prepare_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("preset", choices=model.presets())
    p.add_argument("--plan", default="rq2", metavar="NAME|FILE.toml", help="whose adapters to write (default: rq2)")
    p.add_argument("--out", type=Path, metavar="DIR", help="default: this machine's cache, where the sweep finds it")


def _add_tables_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("directory", type=store.location_argument, metavar="RUN", help="the run's folder or URI")


if __name__ == "__main__":
    sys.exit(main())
