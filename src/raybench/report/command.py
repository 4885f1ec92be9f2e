"""How a command begins and ends: its options, one line for what went wrong, its exit code."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from typing import Any, Final, NoReturn

from raybench.records import RaybenchError
from raybench.report.terminal import complain, flush_output, harmless, write_text
from raybench.store import redact_uris

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the signal's number."""

_EXAMPLES: Final = "for example:"


class Parser(argparse.ArgumentParser):
    """A command line that repeats what was typed harmlessly, and without the secrets of URIs."""

    def __init__(
        self,
        *,
        any_order: bool = False,
        fill: Callable[[Parser], None] | None = None,
        examples: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        """``any_order``: a positional argument that may be left out may also come after options.

        ``fill`` adds the arguments, when this parses a command line and not before: of several commands to one only.
        ``examples``: command lines that its help ends with, as they are.
        """
        epilog = "\n  ".join((_EXAMPLES, *examples)) if examples else None
        super().__init__(**{"formatter_class": _Help, "epilog": epilog, **options})
        self._any_order, self._fill = any_order, fill

    def fill(self) -> None:
        """Add the arguments now, for who looks at them without parsing."""
        if self._fill is not None:
            fill, self._fill = self._fill, None
            fill(self)

    def error(self, message: str) -> NoReturn:
        if sys.stderr is not None:
            self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: error: {harmless(redact_uris(message))}\n")

    def print_help(self, file: Any = None) -> None:
        if file is None:
            write_text(self.format_help())  # argparse itself says nothing where it cannot be written
        else:
            super().print_help(file)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.fill()
        if not self._any_order:
            return super().parse_known_args(args, namespace)
        self._any_order = False  # the other method calls this one
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._any_order = True


class _Help(argparse.HelpFormatter):
    """Examples keep their lines, to be copied; all else is as wide as the terminal, or ``COLUMNS``."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(_EXAMPLES) else super()._fill_text(text, width, indent)


def run_command(command: Callable[[], int]) -> int:
    """The exit code: the command's own, 1 where something failed, 2 for bad input, 130 after Ctrl-C.

    What went wrong is one line on standard error. Lets pass what argparse ends with.
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
