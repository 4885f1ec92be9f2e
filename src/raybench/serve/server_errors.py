"""What a person is told of a server that failed: what happened, in one line, and what its log says."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from raybench.records import FailureKind, RaybenchError

LOG_TAIL_BYTES: Final = 4096
_SEARCHED_BYTES: Final = 64 * 2**10
_SHOWN: Final = 1000

_FROM_OUTSIDE: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
"""Signals that somebody else sends: a person, a scheduler, the kernel short of memory."""

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_])")
_CAUSE: Final = re.compile(r"\b[A-Z]\w*(?:Error|Exception): \S.{0,300}")
_WARNING: Final = re.compile(r"\bWARN(?:ING)?\b")
_LEAKS: Final = re.compile(r"\s*(nanobind: |- leaked |- \.\.\. skipped remainder)")
"""What bindings of nanobind (Triton's, in vLLM 0.32) print of their types as a process ends: pages behind the error."""
_NO_MEMORY: Final = re.compile(r"OutOfMemoryError|\bMemoryError\b|out of memory|Cannot allocate memory|bad_alloc")


class ServerError(RaybenchError):
    """A server that did not start, was not ready in time, or died. ``kind``: as failures are told apart in a run.

    ``log_tail``: the last 4 kB that it printed, as text.
    """

    def __init__(self, kind: FailureKind, message: str, log: Log | None = None) -> None:
        self.log_tail = log.tail() if log is not None else ""
        if log is not None and _NO_MEMORY.search(self.log_tail):
            kind = "out_of_memory"
        self.kind: FailureKind = kind
        super().__init__(message if log is None else f"{message}; {log.told()}")


class Log:
    """What a server printed. ``hidden``: secrets, which are not shown where it printed them."""

    def __init__(self, path: Path, hidden: Sequence[str] = ()) -> None:
        self.path, self._hidden = path, [secret for secret in hidden if secret]

    def tail(self, size_bytes: int = LOG_TAIL_BYTES) -> str:
        """Its last ``size_bytes`` as text, without what would move a terminal's cursor; empty where there is none."""
        try:
            with self.path.open("rb") as file:
                end = file.seek(0, 2)
                # As much more as a secret is long: one that begins before the end is found too.
                before = max((len(secret) for secret in self._hidden), default=0)
                file.seek(max(0, end - size_bytes - before))
                text = file.read(size_bytes + before).decode("utf-8", "replace")
        except OSError:
            return ""
        text = without_secrets(text, self._hidden)
        text = _ESCAPES.sub("", text)
        return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)[-size_bytes:]

    def told(self) -> str:
        """Its end for a message, and before it the first error, where that is further up: libraries tell it first."""
        lines = [line for line in self.tail(_SEARCHED_BYTES).splitlines() if not _LEAKS.match(line)]
        end = " ".join(" ".join(lines).split())[-_SHOWN:]
        if not end:
            return "it printed nothing"
        # A warning tells what may come of it, by the names of errors.
        cause = _CAUSE.search("\n".join(line for line in lines if not _WARNING.search(line)))
        first = " ".join(cause.group().split()) if cause else ""
        return f"the first error in its log: {first} ... its end: {end}" if first not in end else f"its log ends: {end}"


def without_secrets(text: str, hidden: Sequence[str]) -> str:
    """``text`` with ``***`` in place of each of ``hidden``."""
    for secret in filter(None, hidden):
        text = text.replace(secret, "***")
    return text


def how_it_ended(exit_code: int | None) -> tuple[FailureKind, str]:
    """Whose fault the end of a process was, and how it ended: a negative code is the signal that ended it."""
    if exit_code is not None and exit_code < 0:
        with contextlib.suppress(ValueError):
            signum = signal.Signals(-exit_code)
            return "killed" if signum in _FROM_OUTSIDE else "crashed", f"signal {signum.name}"
    return "crashed", f"exit code {exit_code}"
