"""``raybench sweep``, in a Ray job ``python -m raybench.sweep``: run a plan and print its tables."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from raybench.report import Parser, complain, open_console, run_command
from raybench.sweep.options import add_arguments
from raybench.sweep.preflight import check_sweep
from raybench.sweep.stop_signals import Stopped, StopSignals


def parser() -> Parser:
    """The command line of a sweep."""
    p = Parser(
        prog="raybench sweep",
        description="Run a plan and print its tables.",
        examples=("raybench sweep --plan smoke",),
    )
    add_arguments(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 complete, 1 something failed or is missing, 2 bad input, 128 + n stopped by signal n."""
    return run_command(lambda: run(parser().parse_args(argv)))


def run(options: argparse.Namespace) -> int:
    """Run a sweep. Raises RaybenchError for what went wrong; a signal that stops it is told here."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    console = open_console()
    signals = StopSignals()
    signals.install()
    try:
        sweep = check_sweep(options)
        from raybench.sweep.sweep import run_sweep  # imports ray: not before all that can be refused is

        return run_sweep(sweep, console, signals)
    except Stopped as stopped:
        complain(f"stopped by {stopped}")
        return 128 + stopped.signum
    finally:
        signals.restore()
