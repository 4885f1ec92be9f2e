"""How a word of a command line becomes a value, and what else of an option most commands have alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from cyclopts import Group, Parameter, Token
from cyclopts.validators import mutually_exclusive

from raybench.records import InputError

Value = TypeVar("Value")

FLAT: Final = Parameter(name="*")
"""Of a class of options: each of its fields is an option by itself.

Modules of such classes have no postponed annotations: cyclopts 5.5 looks for the types of inherited fields, written as
text, among the names of the module that inherits them.
"""


def parsed_by(parse: Callable[[str], Value]) -> Callable[[Any, Sequence[Token]], Value]:
    """What cyclopts takes to make a value of a word: by ``parse``, whose InputError or ValueError it tells of.

    Of an option that is given again the last word counts.
    """

    def convert(_: Any, tokens: Sequence[Token]) -> Value:
        try:
            return parse(tokens[-1].value)
        except InputError as error:
            raise ValueError(str(error)) from None

    return convert


def listed_by(parse: Callable[[str], Value], metavar: str) -> Parameter:
    """Of an option whose several values are one word, by commas: a tuple of what ``parse`` makes, in order."""

    def values(text: str) -> tuple[Any, ...]:
        found: set[Any] = {parse(part) for part in text.split(",")}
        return tuple(sorted(found))

    return Parameter(metavar=metavar, converter=parsed_by(values), n_tokens=1)


def exclusive(*names: str) -> Parameter:
    """Of options that exclude each other."""
    group = Group(", ".join(names), validator=mutually_exclusive, show=False)
    return Parameter(group=("Options", group))


def option_name(field: str) -> str:
    """The option that a field of a class of options is."""
    return f"--{field.replace('_', '-')}"


def whole_number(least: int, most: int, expected: str = "") -> Callable[[str], int]:
    """Reads a number of ``least`` to ``most``; ``expected`` says of which, in other words."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise ValueError(f"expected {expected or f'a number from {least} to {most}'}, got {text[:40]!r}")
        return value

    return parse
