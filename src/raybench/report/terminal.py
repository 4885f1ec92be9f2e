"""The one way out to the screen.

Names in a run, a plan, a model or a command line are foreign: they are shown, and act on nothing. Nothing else in this
package prints: lines go through `say`, or `screen` beside tables, what went wrong through `complain`, data for programs
through `write_json` and `write_text`, commands to copy through `shell_command`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from raybench.records import RaybenchError
from raybench.report.wrapping import lines_for
from raybench.store import Location, redact_uris


class OutputError(RaybenchError):
    """Standard output cannot be written."""


def harmless(text: str) -> str:
    r"""``text`` with all that a terminal acts on, and all that nobody sees, as escapes: ``\x1b``, ``\n``, ``\u202e``.

    Those are control codes, ends of lines, characters without width or that turn the direction of writing, spaces
    that are none, and lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def say(text: str) -> None:
    """One line on standard output, `harmless`; on a terminal as many as it takes."""
    write_text("\n".join(lines_for(harmless(text), sys.stdout)) + "\n")


def complain(text: str) -> None:
    """One line on standard error, without the secrets of URIs; on a terminal as many as it takes."""
    if sys.stderr is not None:  # where it is closed nobody can be told
        line = harmless(redact_uris(re.sub(r"\s*\n\s*", " ", text.strip())))
        with contextlib.suppress(OSError):
            sys.stderr.write("\n".join(lines_for(f"raybench: {line}", sys.stderr)) + "\n")
            sys.stderr.flush()


def write_json(value: object) -> None:
    """``value`` as JSON on standard output, as `json_text`."""
    write_text(json_text(value))


def json_text(value: object) -> str:
    """``value`` as JSON: ASCII, and no control character but the ends of lines."""
    return json.dumps(value, indent=2, allow_nan=False).replace("\x7f", "\\u007f") + "\n"


def write_text(text: str) -> None:
    """Data for programs on standard output, as it is."""
    output = Output(sys.stdout)
    output.write(text)
    output.flush()


def write_bytes(data: bytes) -> None:
    """Data for programs on standard output that is no text."""
    output = Output(sys.stdout)
    output.write_bytes(data)
    output.flush()


def shell_command(words: Iterable[object]) -> str:
    """A command line that a shell reads as these words, whatever they hold; without control characters."""
    return " ".join(_quoted(str(word)) for word in words)


def run_argument(root: Location) -> str:
    """A run's place as an argument, which is not to be taken for an option, nor for a name that is looked for."""
    text = str(root)
    return text if "/" in text else f"./{text}"


def shown_place(root: Location) -> Location:
    """A run's place as people and commands name it: from the current folder, where it lies below that."""
    return root.relative_to(Path.cwd()) if isinstance(root, Path) and root.is_relative_to(Path.cwd()) else root


def flush_output() -> None:
    """Write now what is left to be written. Raises OutputError."""
    Output(sys.stdout).flush()


class Output:
    """Standard output, for lines, tables and data. A reader that has gone (``| head``) is no error: the command goes
    on, and its exit code is what it would have been. Any other failure raises OutputError.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._explained():
            self._stream.write(text)
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """What is no text, past the encoding."""
        with self._explained():
            self._stream.flush()
            self._stream.buffer.write(data)

    def flush(self) -> None:
        with self._explained():
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        return self._stream.encoding

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self._give_up()
        except OSError as error:
            self._give_up()
            raise OutputError(f"standard output cannot be written: {error.strerror or error}") from None

    def _give_up(self) -> None:
        """Nothing more is written; Python, too, would try and complain as it ends."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def _quoted(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + "".join(map(_in_ansi_c_quotes, word)) + "'"


def _in_ansi_c_quotes(character: str) -> str:
    """A character between ``$'`` and ``'``, where what is not printable is given byte by byte."""
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    try:
        raw = os.fsencode(character)
    except UnicodeEncodeError:  # half a surrogate pair: in no file's name
        raw = character.encode("utf-8", "surrogatepass")
    return "".join(f"\\{byte:03o}" for byte in raw)
