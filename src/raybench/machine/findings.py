"""What is found of a machine: one finding of each check, and the files that checks read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

State = Literal["ok", "caution", "unknown"]
"""``caution``: something would spoil a measurement. ``unknown``: it could not be read, which is not ``ok``."""

_MOST_BYTES: Final = 1024**2
"""Of a file that is read: those of /proc and /sys are shorter."""
_MOST_CHARACTERS: Final = 200
"""Of what is kept of a finding beside a run."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What one check says: ``found``, in words and with its number, or why it could not be read; what to do about it.

    ``remedy`` is empty unless there is a caution.
    """

    name: str
    state: State
    found: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """Everything, as JSON values."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, slots=True)
class Examined:
    """A machine, by its host's name, and what was found of it."""

    host: str
    findings: tuple[Finding, ...]


class Look(NamedTuple):
    """What a check saw; nothing is wrong where there is no ``remedy``."""

    found: str
    remedy: str = ""


class CannotRead(Exception):  # noqa: N818  an answer of a check, not a fault
    """Why a check has nothing to say: what it asks for is not there, or not for everyone."""


def finding_of(name: str, check: Callable[[], Look]) -> Finding:
    """What ``check`` saw, or why it saw nothing. Raises what it raises but for `CannotRead`."""
    try:
        found, remedy = check()
    except CannotRead as reason:
        return Finding(name, "unknown", str(reason))
    return Finding(name, "caution" if remedy else "ok", found, remedy)


def findings_of(checks: Mapping[str, Callable[[], Look]]) -> list[Finding]:
    """A finding of each, in their order."""
    return [finding_of(name, check) for name, check in checks.items()]


def kept(findings: Iterable[Finding]) -> dict[str, str]:
    """What a run keeps of findings: by name ``ok``, or the state and what was found."""
    return {one.name: "ok" if one.state == "ok" else f"{one.state}: {one.found}"[:_MOST_CHARACTERS] for one in findings}


def doctor_notice(workers: Iterable[tuple[str, Mapping[str, str]]]) -> str | None:
    """What a sweep says, in one line, of cautions about the machines that it measures on; None without any.

    ``workers``: of each its host and what it kept of findings.
    """
    by_host: dict[str, dict[str, str]] = {}
    for host, told in workers:
        by_host.setdefault(host, {}).update(told)
    hosts: dict[str, list[str]] = {}
    for host, of in sorted(by_host.items()):
        if names := ", ".join(name for name, found in of.items() if found.startswith("caution")):
            hosts.setdefault(names, []).append(host)
    if not hosts:
        return None
    named = "; ".join(f"{names} on {', '.join(of)}" for names, of in hosts.items())
    return f"Caution: what would spoil measurements: {named}. raybench doctor says what was found, and what to do."


class Tree:
    """The files of a machine, below a root that may be another folder. What cannot be read raises `CannotRead`."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def text(self, path: str) -> str:
        """What the file holds, without spaces at its ends."""
        try:
            with (self.root / path).open("rb") as file:
                return file.read(_MOST_BYTES).decode("utf-8", "replace").strip()
        except OSError as error:
            raise CannotRead(f"/{path}: {error.strerror or error}") from None

    def number(self, path: str) -> int:
        """The whole number that the file holds."""
        return number_of(self.text(path), path)

    def fields(self, path: str) -> dict[str, str]:
        """Of a file of lines ``name value`` or ``name: value``, each value by its name."""
        lines = (line.partition(":" if ":" in line else " ") for line in self.text(path).splitlines())
        return {name.strip(): value.strip() for name, _, value in lines}

    def names(self, path: str) -> list[str]:
        """Names of what is in the folder, in order."""
        try:
            return sorted(one.name for one in (self.root / path).iterdir())
        except OSError as error:
            raise CannotRead(f"/{path}: {error.strerror or error}") from None

    def has(self, path: str) -> bool:
        """Whether the file or folder is there."""
        return (self.root / path).exists()


def number_of(text: str, where: str) -> int:
    """``text`` as a whole number. Raises `CannotRead` for what is none."""
    try:
        return int(text)
    except ValueError:
        raise CannotRead(f"/{where}: {text[:40]!r} is no number") from None


def field(fields: Mapping[str, Any], name: str, where: str) -> Any:
    """A value of ``fields``. Raises `CannotRead` where there is none."""
    if name not in fields:
        raise CannotRead(f"/{where} does not say {name}")
    return fields[name]


def cores_of(text: str) -> tuple[int, ...]:
    """The numbers of a list such as ``0-3,8``, as the kernel writes them. Raises `CannotRead`."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        low, high = number_of(first, "a list of cores"), number_of(last or first, "a list of cores")
        found += range(low, min(high, low + 2**16) + 1)
    return tuple(found)


def listed(numbers: Iterable[int]) -> str:
    """A list of cores as the kernel, and vLLM, write it: ``0-3,8``, each once."""
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
