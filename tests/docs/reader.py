"""Who reads the pages and types what stands there into a shell, with their own for what a page leaves to them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from docs.pages import REPOSITORY, Line, lines

PATIENCE_S: Final = 600


class Reader:
    """At a prompt in ``folder``. ``filled``: what is typed for a text of a page, such as BASE.

    ``environment`` comes to that of the tests; this environment's programs are found first.
    """

    def __init__(self, folder: Path, filled: Mapping[str, str], environment: Mapping[str, str] | None = None) -> None:
        self.folder, self._filled = folder, filled
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        given = {"PATH": programs, "PYTHONPATH": str(REPOSITORY / "src"), "PYTHONWARNINGS": "ignore"}
        self._own = {**given, **(environment or {})}

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self._own}

    def types(self, *texts: str, codes: tuple[int, ...] = (0,)) -> str:
        """Type lines one after the other, as one goes on where the one before succeeded; what they print.

        Raises AssertionError: it ended otherwise than by ``codes``.
        """
        done = subprocess.run(
            ["bash", "-c", "\n".join(["set -e", *map(self.filled, texts)])],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode in codes, f"{texts}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def filled(self, text: str) -> str:
        """With what a person has for what a page leaves to them."""
        for name, own in self._filled.items():
            text = text.replace(name, own)
        return text


def shorter(text: str) -> str:
    """A sweep in rounds and requests that tell whether it runs; it is the same otherwise."""
    return " ".join([text, *(f"{option} {least}" for option, least in _LEAST.items() if f"{option} " not in text)])


_LEAST: Final = {"--rounds": 1, "--requests": 2}


def is_swept(line: Line) -> bool:
    """Whether it is a sweep that needs nothing but this machine: no engine, no server, no store of objects."""
    elsewhere = ("--engine", "--url", "s3://", "gs://", "docs/example_strategy")
    alone = line.alone is not None and line.text.startswith("raybench sweep")
    return alone and not any(word in line.text for word in elsewhere)


def written_before(line: Line) -> list[str]:
    """Lines above it on its page that write a plan which it names."""
    files = {command.into: other.text for other in lines(line.page) for command in other.commands if command.into}
    return [text for file, text in files.items() if file in line.text.split()]
