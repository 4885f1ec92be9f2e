"""SQL as it is typed: statements of several lines that end by a semicolon, from a terminal or from anything else.

On a terminal prompt_toolkit edits, keeps a history between sessions and completes names; elsewhere lines are read.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from raybench.report.screen import open_console, print_line
from raybench.report.terminal import complain

if TYPE_CHECKING:
    from prompt_toolkit.history import History

Word = Literal["end", "help", "tables"]
WORDS: Final[dict[str, Word]] = {
    **dict.fromkeys(("exit", "quit", "\\q", ".quit", ".exit"), "end"),
    **dict.fromkeys(("help", ".help", "?"), "help"),
    **dict.fromkeys((".tables", "\\d"), "tables"),
}
"""What is no statement, and is done at once, also without a semicolon."""

_FIRST, _NEXT = "raybench> ", "     ...> "
_PASSED_OVER: Final = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$""",
    re.DOTALL | re.VERBOSE,
)
"""What may hold a semicolon that ends nothing: texts, names in quotes, comments."""
_OPEN: Final = re.compile(r"""['"]|/\*|\$\w*\$""")

NextStatement = Callable[[], str]
"""Gives the next statement. Raises EOFError where there is none, KeyboardInterrupt where Ctrl-C threw one away."""


def open_prompt(names: Callable[[], Sequence[str]]) -> NextStatement:
    """Where statements come from; ``names``: what is completed on a terminal, asked for when it is."""
    if is_terminal():
        return _edited(names)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # what is no text is no query, and not the end
    return _read


def is_terminal() -> bool:
    """Whether statements are edited: there is a terminal to type at and to answer on, which moves its cursor."""
    both = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    return both and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def is_whole(text: str) -> bool:
    """Whether ``text`` ends by a semicolon that ends a statement: of no text, quoted name or comment."""
    rest = _PASSED_OVER.sub(" ", text).rstrip()
    return rest.endswith(";") and _OPEN.search(rest) is None


def word_of(text: str) -> Word | None:
    """What ``text`` asks for where it is one of `WORDS`."""
    return WORDS.get(text.strip().rstrip(";").rstrip().lower())


def open_part(text: str) -> str:
    """What of a statement that was begun has not ended, and what ends it."""
    found = _OPEN.search(_PASSED_OVER.sub(" ", text))
    what = "a statement is open: ; ends it"
    if found is not None:
        kind, end = {"'": ("text", "'"), '"': ("name", '"'), "/*": ("comment", "*/")}.get(found[0], ("text", found[0]))
        what = f"a {kind} in {found[0]} is open: {end} ends it, and ; the statement"
    return f"{what}; Ctrl-C throws it away"


def history_file() -> Path | None:
    """Where statements are kept between sessions, for the user's own eyes; None where it cannot be written.

    The folder is that of the XDG base directory specification.
    """
    stated = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(stated) if Path(stated).is_absolute() else Path.home() / ".local" / "state"
        file = base / "raybench" / "sql_history"
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600))
    except (OSError, RuntimeError):  # RuntimeError: nobody's home
        return None
    return file


def _edited(names: Callable[[], Sequence[str]]) -> NextStatement:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.application import get_app, run_in_terminal
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.filters import Condition, is_searching
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from prompt_toolkit.lexers import PygmentsLexer
    from pygments.lexers.sql import SqlLexer

    keys = KeyBindings()

    @Condition
    def may_be_answered() -> bool:
        text = get_app().current_buffer.text
        return not text.strip() or is_whole(text) or word_of(text) is not None

    @Condition
    def has_begun() -> bool:
        buffer = get_app().current_buffer
        return bool(buffer.text.strip()) and buffer.cursor_position == len(buffer.text)

    @keys.add("enter", filter=may_be_answered & ~is_searching)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("c-d", filter=has_begun)  # within a line it removes a character, on an empty one it ends the prompt
    def _(event: KeyPressEvent) -> None:
        text = event.current_buffer.text
        run_in_terminal(lambda: print_line(open_console(), open_part(text)))

    session: PromptSession[str] = PromptSession(
        _FIRST,
        multiline=True,
        prompt_continuation=_NEXT,
        history=_history(),
        lexer=PygmentsLexer(SqlLexer),
        completer=WordCompleter(lambda: list(names()), ignore_case=True),
        complete_while_typing=False,
        key_bindings=keys,
    )
    return session.prompt


def _history() -> History:
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    class Kept(FileHistory):
        """Goes on where nothing more can be written."""

        def store_string(self, string: str) -> None:
            with contextlib.suppress(OSError):
                super().store_string(string)

    file = history_file()
    if file is None:
        complain("what is typed is not kept for the next time: the state folder cannot be written (XDG_STATE_HOME)")
        return InMemoryHistory()
    return Kept(str(file))


def _read() -> str:
    """Lines up to a statement's end, the last one also without; prompts where somebody types them."""
    if sys.stdin is None:
        raise EOFError
    text = ""
    while True:
        line = _line(_NEXT if text.strip() else _FIRST)
        text += line
        if is_whole(text) or (text.strip() and not line) or word_of(text) is not None:
            return text
        if not line:
            raise EOFError


def _line(prompt: str) -> str:
    """A line with its end; nothing where there is none."""
    if sys.stdin.isatty() and sys.stderr is not None:
        sys.stderr.write(prompt)
        sys.stderr.flush()
    return sys.stdin.readline()
