"""The ``raybench`` command: look at a plan, prepare a model, read a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App

from raybench import __version__, report

app: Final[App] = report.new_app(
    "raybench",
    "How to deploy a LoRA fine-tune, answered with evidence.",
    (
        "raybench sweep --plan smoke   # every way to deploy, once: does it work here?",
        "raybench report latest        # what it found, on one page",
        "raybench COMMAND --help       # what a command takes, with an example",
    ),
    version=f"raybench {__version__}",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, 1 for what failed, 2 for bad input, 128 + n after signal n."""
    return report.run_command(lambda: report.run_app(app, argv))


def _add(name: str, what: str, *examples: str, takes: str | None = None) -> None:
    """A command, which `commands` has; its arguments are looked at where it is the one that is meant.

    ``takes``: what its usage has after the options, where cyclopts would not say it by name.
    """
    app.command(
        f"raybench.commands:{name}_command",
        name=name,
        help=what,
        help_epilogue=report.examples_of(examples),
        sort_key=len(list(app)),
        usage=None if takes is None else f"Usage: raybench {name} [OPTIONS] {takes}",
    )


_add(
    "sweep",
    "Run a plan and print its tables.",
    "raybench sweep --plan smoke",
    "raybench sweep --model BASE --adapter support=DIR --adapter sales=DIR",
)
_add(
    "init",
    "Write the plan that your own adapters allow, to edit.",
    "raybench init --model BASE --adapter support=DIR > mine.toml",
)
_add(
    "plan",
    "What a plan would run, and all that would keep it from running.",
    "raybench plan rq2 --model PATH",
    "raybench plan rq2 --toml > mine.toml",
    takes="NAME|FILE.toml",
)
_add(
    "doctor",
    "What on this machine or cluster would spoil a measurement, and what to do.\n\n"
    "With --address each node of a Ray cluster is asked. Reads only; takes a second. Ends with 0 where nothing stands "
    "in the way of measuring, with 1 where something does. What cannot be read is said, not counted as fine, and "
    "changes nothing of that. docs/doctor.md has each check.",
    "raybench doctor",
    "raybench doctor --address 10.0.0.1:6379 --json",
)
_add("prepare", "Write a preset as Hugging Face files.", "raybench prepare micro --plan rq2")
_add(
    "runs",
    "Which runs there are, newest first: state, visits, verdicts.",
    "raybench runs",
    "raybench runs --results s3://my-bucket/lora --json",
)
_add("status", "How far a run is: visits, failures, GPUs, rate, estimated end.", "raybench status latest")
_add("rm", "Remove a run, after asking.", "raybench rm RUN", "raybench rm RUN --results s3://my-bucket/lora --yes")
_add(
    "tables",
    "All tables of a run, from its raw samples.",
    "raybench tables latest",
    "raybench tables latest --table by_strategy --format markdown",
    "raybench tables latest --format parquet --out DIR",
)
_add(
    "report",
    "One page of a run, or of two compared, with plots, in one HTML file.",
    "raybench report latest",
    "raybench report latest --markdown > page.md",
    "raybench report A B",
    takes="RUN [RUN_B]",
)
_add(
    "sql",
    "Any SQL over a run; without a query, a prompt.",
    'raybench sql latest "FROM by_strategy"',
    "raybench sql latest                  # a prompt",
    "raybench sql latest --format csv < QUERIES.sql > ANSWERS.csv",
    takes="RUN [SQL]",
)
_add(
    "compare",
    "The same verdicts between two runs of one plan, for regressions.",
    "raybench compare BEFORE AFTER --fail-on slower",
)
_add(
    "decide",
    "From a run to advice: how to deploy, on how many GPUs, at what cost.",
    "raybench decide latest --tasks 40 --gpu-memory 24GB \\\n      --slo-p95 40ms --requests-per-second 12",
)


@app.command(
    name="completion",
    sort_key=len(list(app)),
    help="What a shell runs to complete commands, options, runs and plans by Tab.",
    help_epilogue=report.examples_of(
        (
            'eval "$(raybench completion bash)"     # in ~/.bashrc; of zsh in ~/.zshrc',
            "raybench completion fish > ~/.config/fish/completions/raybench.fish",
        )
    ),
)
def completion(shell: report.Shell, /) -> int:
    report.write_text(report.script_of(app, shell))
    return 0


if __name__ == "__main__":
    sys.exit(main())
