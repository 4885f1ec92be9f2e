"""What stands in the pages for readers: commands to type, and blocks of other languages.

An indented block holds commands; anything else stands in a fence that says its language (CONTRIBUTING.md).
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

REPOSITORY: Final = Path(__file__).parents[2]
PAGES: Final = tuple(
    sorted(
        str(path.relative_to(REPOSITORY))
        for path in (
            *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
            *(REPOSITORY / "docs").rglob("*.md"),
        )
    )
)
FOR_USERS: Final = tuple(page for page in PAGES if page == "README.md" or page.startswith("docs/"))
"""The pages of which each line is run by a test."""
_ENDS: Final = frozenset({"&&", "||", "|", ";", "&", "(", ")"})
_ASSIGNED: Final = re.compile(r"[A-Za-z_]\w*=.*")


@dataclasses.dataclass(frozen=True)
class Fence:
    """A block in a fence: ``info`` is what stands behind the opening one."""

    page: str
    line: int
    info: str
    text: str

    @property
    def language(self) -> str:
        return self.info.partition(" ")[0]


@dataclasses.dataclass(frozen=True)
class Command:
    """One program with its words, as the shell would start it. ``into``: the file that its output is sent to."""

    page: str
    line: int
    words: tuple[str, ...]
    into: str | None = None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {shlex.join(self.words)}"


@dataclasses.dataclass(frozen=True)
class Line:
    """What is typed into a shell at once, without its comment. Of several lines that end in backslashes: one."""

    page: str
    number: int
    text: str

    @property
    def commands(self) -> list[Command]:
        return list(typed(self.page, self.number, self.text))

    @property
    def alone(self) -> Command | None:
        """The command, where nothing stands in the line but one and perhaps a file for its output."""
        commands = self.commands
        if len(commands) != 1 or re.search(r"^\w+=|<|\d>|>>|&$", self.text):
            return None
        return commands[0]

    def __str__(self) -> str:
        return f"{self.page}:{self.number}: {self.text}"


def fences(page: str) -> Iterator[Fence]:
    for token in _tokens(page):
        if token.type == "fence":
            assert token.map is not None
            yield Fence(page, token.map[0] + 1, token.info, token.content)


def lines(page: str) -> Iterator[Line]:
    """Of every indented block, what is typed, in order."""
    for token in _tokens(page):
        if token.type == "code_block":
            assert token.map is not None
            number = token.map[0] + 1
            for text in re.split(r"(?<!\\)\n", token.content):
                if stated := re.sub(r"(^|\s)#.*", "", text.replace("\\\n", " ")).strip():
                    yield Line(page, number, re.sub(r"\s+", " ", stated))
                number += text.count("\n") + 1


def commands(page: str) -> Iterator[Command]:
    """Of every indented block, each program that its lines start, in order."""
    for line in lines(page):
        yield from line.commands


def as_typed(page: str, beginning: str) -> str:
    """The line of a page that begins so, for a test that runs it: test_commands.py holds that each line has one.

    Of several that begin so the one that is no longer.
    """
    found = [line.text for line in lines(page) if line.text.startswith(beginning)]
    exact = [text for text in found if text == beginning]
    assert len(set(exact or found)) == 1, f"{page}: {beginning!r} is the beginning of {found}"
    return (exact or found)[0]


def typed_words(page: str, beginning: str) -> list[str]:
    """The same of a line with one command: its words."""
    (command,) = typed(page, 0, as_typed(page, beginning))
    return list(command.words)


def mentioned(page: str) -> Iterator[Command]:
    """Command lines in sentences: of make, of pip, and of raybench those of two words after its name or more."""
    text = (REPOSITORY / page).read_text("utf-8")
    for match in re.finditer(r"`((?:raybench|python -m raybench\.sweep|make|pip install) [^`\n]+)`", text):
        words = tuple(shlex.split(match[1]))
        if words[0] != "raybench" or len(words) > 2:
            yield Command(page, text.count("\n", 0, match.start()) + 1, words)


def typed(page: str, number: int, text: str) -> Iterator[Command]:
    """The programs of a line as it is typed into a shell."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[str] = []
    into: str | None = None
    found = iter(list(lexer))
    for word in found:
        if word == ">":
            into = next(found)
        elif word in _ENDS:
            if words:
                yield Command(page, number, tuple(words), into)
            words, into = [], None
        elif words or not _ASSIGNED.fullmatch(word):
            words.append(word)
    if words:
        yield Command(page, number, tuple(words), into)


def _tokens(page: str) -> list[Token]:
    return MarkdownIt().parse((REPOSITORY / page).read_text("utf-8"))
