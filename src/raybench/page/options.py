"""What ``raybench report`` can be told."""

from __future__ import annotations

import argparse
from pathlib import Path

from raybench.compare import add_devices_argument
from raybench.decide import add_needs
from raybench.report import add_results_argument, add_run_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run or two, in which form the page is written and where, and what is to be served."""
    add_run_argument(parser)
    add_run_argument(parser, "other", "RUN_B", "; the page is of that run compared with the first", may_lack=True)
    add_results_argument(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="default: RUN-ID.html here, of two RUN-B-against-RUN-A.html; of --markdown and --json standard output",
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="for a pull request, without the plots")
    form.add_argument("--json", action="store_true", help="the numbers of the page, for programs")
    add_devices_argument(parser.add_argument_group("of two runs"))
    needs = parser.add_argument_group("what is to be served", "with these the page has the advice of raybench decide")
    add_needs(needs, required=False)
