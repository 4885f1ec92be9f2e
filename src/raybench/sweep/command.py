"""``python -m raybench.sweep``, also ``raybench sweep``: run a plan and print its tables."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from raybench.records import RaybenchError
from raybench.report import open_console
from raybench.sweep.options import add_arguments
from raybench.sweep.preflight import check_sweep
from raybench.sweep.stop_signals import Stopped, StopSignals


def parser() -> argparse.ArgumentParser:
    """The command line of a sweep."""
    p = argparse.ArgumentParser(prog="python -m raybench.sweep", description="Run a plan and print its tables.")
    add_arguments(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 complete, 1 something failed or is missing, 2 bad input, 128 + n stopped by signal n."""
    return run(parser().parse_args(argv))


def run(options: argparse.Namespace) -> int:
    """Run a sweep, with one line on standard error for what went wrong."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    console = open_console()
    signals = StopSignals()
    signals.install()
    try:
        sweep = check_sweep(options)
        from raybench.sweep.sweep import run_sweep  # imports ray: not before all that can be refused is

        return run_sweep(sweep, console, signals)
    except RaybenchError as error:
        for line in error.lines:
            print(f"raybench: {line}", file=sys.stderr)
        return error.exit_code
    except Stopped as stopped:
        print(f"raybench: stopped by {stopped}", file=sys.stderr)
        return 128 + stopped.signum
    finally:
        signals.restore()
