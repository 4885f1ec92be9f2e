"""A command at a real terminal: what it shows is read, what a person would type is written."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from processes import end_tree

PATIENCE_S = 150
_CONTROL = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[=>])")


class Terminal:
    """The command's standard streams are a terminal of so many columns and lines."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process, self._master = process, master
        self.shown = ""
        """All of it, controls and all."""

    def until(self, *texts: str, after: int = 0) -> str:
        """Wait until ``texts`` stand, one behind the other, among what came from character ``after`` on.

        Gives that, what moves a cursor or colours left out.
        """
        deadline = time.monotonic() + PATIENCE_S
        wanted = re.compile(".*".join(map(re.escape, texts)), re.DOTALL)
        while wanted.search(found := plain(self.shown[after:])) is None:
            if not self._more(deadline):
                raise AssertionError(f"{texts!r} never came; there is {found!r}")
        return found

    def type(self, keys: str) -> int:
        """Gives how many characters were shown before, for `until`."""
        place = len(self.shown)
        os.write(self._master, keys.encode())
        return place

    def press(self, key: str, *texts: str, after: int) -> None:
        """Press ``key`` again and again until ``texts`` are there: nothing tells when the command listens for it."""
        wanted = re.compile(".*".join(map(re.escape, texts)), re.DOTALL)
        deadline = time.monotonic() + PATIENCE_S
        while wanted.search(plain(self.shown[after:])) is None:
            assert time.monotonic() < deadline, self.shown[after:]
            self.type(key)
            soon = time.monotonic() + 0.5
            while time.monotonic() < soon and self._more(soon):
                pass

    def end(self) -> int:
        """Its exit code, once it has ended by itself; what it still showed is read."""
        deadline = time.monotonic() + PATIENCE_S
        while self._more(deadline):
            pass
        return self.process.wait(PATIENCE_S)

    def _more(self, deadline: float) -> bool:
        """Read what there is, once there is some; False at the terminal's end, and at the deadline."""
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            part = os.read(self._master, 65536)
        except OSError:  # nobody holds the other end any more
            return False
        self.shown += part.decode(errors="replace")
        return bool(part)


def plain(shown: str) -> str:
    """Without what moves a cursor or colours."""
    return _CONTROL.sub("", shown)


@contextlib.contextmanager
def at_terminal(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str], columns: int = 120, lines: int = 40
) -> Iterator[Terminal]:
    """Start ``command`` at one; ``environment`` comes to that of the tests. What is left of it is ended."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    given = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    given |= {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **environment}
    process = subprocess.Popen(
        list(command),
        cwd=cwd,
        env=given,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # whose Ctrl-C it gets
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        end_tree(process)
        os.close(master)
