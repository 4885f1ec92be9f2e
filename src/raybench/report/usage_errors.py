"""What is wrong with a command line, in a line."""

from __future__ import annotations

from typing import Final

from cyclopts import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from raybench.plan import did_you_mean, nearest

_LONGEST: Final = 60
"""Characters of a word that is none, which are repeated."""


def told_error(error: CycloptsError, program: str) -> str:
    """What is wrong, of what, and where its help is."""
    command = " ".join((program, *(error.command_chain or ())))
    what = _what(error)
    return f"{what}{'' if what.endswith('?') else ';'} {command} --help says what it takes"


def _what(error: CycloptsError) -> str:
    """In our words where cyclopts says it of no name, or names what is not meant."""
    told = str(error).strip().removesuffix(".")
    if isinstance(error, UnknownCommandError):
        known = [] if error.app is None else [name for name in error.app if not name.startswith("-")]
        word = (error.unused_tokens or [""])[0]
        meant = did_you_mean(word, known)
        return f"{_shown(word)} is no command{meant}{' There' if meant else '; there'} are {', '.join(known)}"
    if isinstance(error, UnknownOptionError):
        return _what_option(error)
    if isinstance(error, UnusedCliTokensError):
        return f"{', '.join(map(_shown, error.unused_tokens or ()))}: more than it takes"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.argument.name
        if error.argument.field_info.is_positional_only:
            return f"{name}: missing"
        return f"{name}: give a value; one that begins with a hyphen as {name}=VALUE"
    if isinstance(error, ValidationError) and error.group is not None:
        return f"{error.group.name}: give one of them"
    if isinstance(error, CoercionError) and error.msg is not None and error.argument is not None:
        return f"{error.argument.name}: {error.msg}"
    return told


def _what_option(error: UnknownOptionError) -> str:
    word = (error.token.keyword or error.token.value).partition("=")[0]
    known = {name.lstrip("-") for one in error.argument_collection if one.parse for name in one.names}
    if word.lstrip("-") in known:
        return f"{word} stands after --, where there are no options"
    near = nearest(word.lstrip("-"), known)
    return f"{_shown(word)} is no option here" + (f"; did you mean --{near}?" if near else "")


def _shown(word: str) -> str:
    return word if len(word) <= _LONGEST else f"{word[:_LONGEST]}..."
