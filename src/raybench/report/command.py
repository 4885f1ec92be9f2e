"""How a command ends: one line for what went wrong, its exit code."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Final

from raybench.records import RaybenchError
from raybench.report.terminal import complain, flush_output, harmless

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the signal's number."""


def run_command(command: Callable[[], int]) -> int:
    """The exit code: the command's own, 1 where something failed, 2 for bad input, 130 after Ctrl-C.

    What went wrong is one line on standard error.
    """
    if sys.stdout is None:  # the next file that is opened would get its number, and what libraries print
        complain("standard output is closed; send it somewhere, such as > FILE")
        return 1
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what its encoding lacks is shown by number
    try:
        try:
            return command()
        finally:
            flush_output()
    except RaybenchError as error:
        for line in error.lines:
            complain(line)
        return error.exit_code
    except BrokenPipeError:  # the reader has gone, at the prompt
        return 0
    except OSError as error:
        parts = [part for part in (error.filename, error.strerror or error) if part is not None]
        complain(": ".join(harmless(str(part)) for part in parts))
        return 1
    except (KeyboardInterrupt, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "Query interrupted" not in str(error):  # DuckDB's word for Ctrl-C
            raise
        complain("interrupted")
        return INTERRUPTED
