"""The ``raybench`` command: look at a plan, prepare a model, read a run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from raybench import __version__, compare, decide, deploy, model, page, plan, report, store, sweep
from raybench.records import InputError, count
from raybench.report import Parser, run_command


def parser(filled: str = "") -> Parser:
    """The command line; the command ``filled`` has its arguments already, the others when they are parsed."""
    top = Parser(
        prog="raybench",
        description="How to deploy a LoRA fine-tune, answered with evidence.",
        examples=(
            "raybench sweep --plan smoke          # every way to deploy, once: does it work here?",
            "raybench report latest               # what it found, on one page",
            "raybench COMMAND --help              # what a command can be told, with an example",
        ),
    )
    top.add_argument("--version", action=_Version, nargs=0, help="say which version this is, and end")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in _COMMANDS.items():
        made = commands.add_parser(
            name,
            help=command.help,
            description=f"{command.help[0].upper()}{command.help[1:]}.",
            fill=command.fill,
            any_order=command.any_order,
            examples=command.examples,
        )
        if name == filled:
            made.fill()
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, 1 for what failed, 2 for bad input, 128 + n after signal n."""

    def command() -> int:
        if report.is_completing():
            report.complete(parser(report.completed_command()))
        options = parser().parse_args(argv)
        chosen = _COMMANDS[options.command]
        if chosen.only_reads:
            store.look_for_no_pandas()
        for name in chosen.runs:
            setattr(options, name, report.named_run(getattr(options, name), options.results))
        return chosen.run(options)

    return run_command(command)


class _Version(argparse.Action):
    """Not argparse's own, which says nothing where it cannot be written."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        report.say(f"raybench {__version__}")
        parser.exit()


def _prepare(options: argparse.Namespace) -> int:
    if model.preset_shape(options.preset)["store"] != "files":
        raise InputError(f"{options.preset} is built on the device from its shape; there is nothing to prepare")
    parsed, _ = plan.load_plan(options.plan, deploy.all_traits(), model.glue_tasks())
    recipe = model.Recipe.of(options.preset, parsed)
    folder: Path = options.out or model.cache_folder() / f"{recipe.preset}-{recipe.digest()}"
    made = model.write_preset(recipe, folder)
    report.say(
        f"{folder}: {'written' if made else 'there already'}; {count(len(recipe.adapters), 'adapter')}, "
        f"{count(len(recipe.full_ft), 'fully fine-tuned model')}"
    )
    command = ["raybench", "sweep", "--plan", options.plan, "--model", str(folder)]
    report.say(f"Use it: {report.shell_command(command)}")
    return 0


def _add_prepare_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("preset", choices=model.presets())
    p.add_argument("--plan", default="rq2", metavar="NAME|FILE.toml", help="whose adapters to write (default: rq2)")
    p.add_argument("--out", type=Path, metavar="DIR", help="default: this machine's cache, where the sweep finds it")


class _Command(NamedTuple):
    """``fill`` adds its arguments; ``run`` gives its exit code; ``examples`` and ``any_order`` as `Parser` has them.

    ``only_reads`` runs, and has no use for pandas; ``runs``: the arguments that name them.
    """

    help: str
    fill: Callable[[Parser], None]
    run: Callable[[argparse.Namespace], int]
    examples: tuple[str, ...] = ()
    any_order: bool = False
    only_reads: bool = False
    runs: tuple[str, ...] = ()


# By lambdas, for what a room hands out is imported when it is asked for: the arguments of the command that is meant,
# and what runs it where it is run.
_COMMANDS: Final = {
    "sweep": _Command(
        "run a plan and print its tables",
        lambda p: sweep.add_arguments(p),
        lambda options: sweep.run(options),
        examples=(
            "raybench sweep --plan smoke",
            "raybench sweep --model BASE --adapter support=DIR --adapter sales=DIR",
        ),
    ),
    "init": _Command(
        "write the plan that your own adapters allow, to edit",
        lambda p: sweep.add_init_arguments(p),
        lambda options: sweep.run_init(options),
        examples=("raybench init --model BASE --adapter support=DIR > mine.toml",),
    ),
    "plan": _Command(
        "what a plan would run, and all that would keep it from running",
        lambda p: sweep.add_plan_arguments(p),
        lambda options: sweep.show_plan(options),
        examples=("raybench plan rq2 --model PATH", "raybench plan rq2 --toml > mine.toml"),
    ),
    "doctor": _Command(
        "what on this machine or cluster would spoil a measurement, and what to do",
        lambda p: sweep.add_doctor_arguments(p),
        lambda options: sweep.run_doctor(options),
        examples=("raybench doctor", "raybench doctor --address 10.0.0.1:6379 --json"),
    ),
    "prepare": _Command(
        "write a preset as Hugging Face files",
        _add_prepare_arguments,
        _prepare,
        examples=("raybench prepare micro --plan rq2",),
    ),
    "runs": _Command(
        "which runs there are, newest first: state, visits, verdicts",
        lambda p: sweep.add_runs_arguments(p),
        lambda options: sweep.show_runs(options),
        only_reads=True,
        examples=("raybench runs", "raybench runs --results s3://my-bucket/lora --json"),
    ),
    "status": _Command(
        "how far a run is: visits, failures, GPUs, rate, estimated end",
        lambda p: sweep.add_status_arguments(p),
        lambda options: sweep.run_status(options),
        only_reads=True,
        runs=("directory",),
        examples=("raybench status latest",),
    ),
    "rm": _Command(
        "remove a run, after asking",
        lambda p: report.add_rm_arguments(p),
        lambda options: report.run_rm(options),
        runs=("run",),
        examples=("raybench rm RUN", "raybench rm RUN --results s3://my-bucket/lora --yes"),
    ),
    "tables": _Command(
        "all tables of a run, from its raw samples",
        lambda p: report.add_tables_arguments(p),
        lambda options: report.run_tables(options),
        only_reads=True,
        runs=("directory",),
        examples=(
            "raybench tables latest",
            "raybench tables latest --table by_strategy --format markdown",
            "raybench tables latest --format parquet --out DIR",
        ),
    ),
    "report": _Command(
        "one page of a run, or of two compared, with plots, in one HTML file",
        lambda p: page.add_arguments(p),
        lambda options: page.run(options),
        any_order=True,
        only_reads=True,
        runs=("directory", "other"),
        examples=("raybench report latest", "raybench report latest --markdown > page.md", "raybench report A B"),
    ),
    "sql": _Command(
        "any SQL over a run; without a query, a prompt",
        lambda p: report.add_sql_arguments(p),
        lambda options: report.run_sql(options),
        any_order=True,
        only_reads=True,
        runs=("directory",),
        examples=(
            'raybench sql latest "FROM by_strategy"',
            "raybench sql latest                  # a prompt",
            "raybench sql latest --format csv < QUERIES.sql > ANSWERS.csv",
        ),
    ),
    "compare": _Command(
        "the same verdicts between two runs of one plan, for regressions",
        lambda p: compare.add_arguments(p),
        lambda options: compare.run(options),
        only_reads=True,
        runs=("a", "b"),
        examples=("raybench compare BEFORE AFTER --fail-on slower",),
    ),
    "decide": _Command(
        "from a run to advice: how to deploy, on how many GPUs, at what cost",
        lambda p: decide.add_arguments(p),
        lambda options: decide.run(options),
        only_reads=True,
        runs=("directory",),
        examples=("raybench decide latest --tasks 40 --gpu-memory 24GB --slo-p95 40ms --requests-per-second 12",),
    ),
    "completion": _Command(
        "what a shell runs to complete commands, options, runs and plans by Tab",
        lambda p: report.add_completion_arguments(p),
        lambda options: report.run_completion(options),
        examples=(
            'eval "$(raybench completion bash)"     # in ~/.bashrc; of zsh in ~/.zshrc',
            "raybench completion fish > ~/.config/fish/completions/raybench.fish",
        ),
    ),
}


if __name__ == "__main__":
    sys.exit(main())
