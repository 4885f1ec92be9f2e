"""``raybench sweep``, in a Ray job ``python -m raybench.sweep``: run a plan and print its tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from cyclopts import App

from raybench.report import complain, new_app, open_console, run_app, run_command
from raybench.sweep.options import SweepOptions
from raybench.sweep.preflight import check_sweep
from raybench.sweep.stop_signals import Stopped, StopSignals

_NOTHING_SAID: Final = SweepOptions()


def app() -> App:
    """The command line of a sweep alone."""
    found = new_app(
        "python -m raybench.sweep",
        "Run a plan and print its tables.",
        ("python -m raybench.sweep --plan smoke",),
    )

    @found.default
    def command(options: SweepOptions = _NOTHING_SAID) -> int:
        return run(options)

    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 complete, 1 something failed or is missing, 2 bad input, 128 + n stopped by signal n."""
    return run_command(lambda: run_app(app(), argv))


def run(options: SweepOptions) -> int:
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
