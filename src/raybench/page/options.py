"""What ``raybench report`` can be told."""

from __future__ import annotations

import argparse
from pathlib import Path

from raybench.decide import add_needs
from raybench.report import add_results_argument, add_run_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, in which form its page is written and where, and what is to be served."""
    add_run_argument(parser)
    add_results_argument(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: RUN-ID.html here; of --markdown and --json standard output"
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="for a pull request, without the plots")
    form.add_argument("--json", action="store_true", help="the numbers of the page, for programs")
    needs = parser.add_argument_group("what is to be served", "with these the page has the advice of raybench decide")
    add_needs(needs, required=False)
