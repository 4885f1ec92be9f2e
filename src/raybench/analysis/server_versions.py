"""What each visit kept of its servers: whether all were of the same versions, and which did not come to rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from raybench.analysis.diagnostics import Caution
from raybench.analysis.kept_text import kept_object, shown
from raybench.records import count

_LONGEST: Final = 100
"""Characters of a name or version that are told."""

_Package = tuple[str, str]
"""A server and what it has installed."""


def version_cautions(environments: Sequence[object]) -> Iterator[tuple[None, Caution]]:
    """A caution for each package of which servers of one name had several versions.

    ``environments``: of each visit JSON as visits keep it; what is no such JSON says nothing. Never raises.
    """
    visits: dict[_Package, dict[str, int]] = {}
    for environment in environments:
        for installed, version in dict.fromkeys(_versions(environment)):
            of = visits.setdefault(installed, {})
            of[version] = of.get(version, 0) + 1
    servers: dict[str, list[str]] = {}
    for (server, package), of in visits.items():
        if len(of) > 1:
            told = " and ".join(f"{version} in {count(visits_of, 'visit')}" for version, visits_of in of.items())
            servers.setdefault(f"{package}: {told}", []).append(server)
    for several, names in servers.items():
        more = f" and of {len(names) - 1:,} more" if len(names) > 1 else ""
        hint = (
            "rounds are not of one engine, and what differs between versions is in the intervals: measure a new run "
            "with one of them"
        )
        yield None, Caution("other_versions", f"{names[0]}{more} had several versions of {several}", hint)


def never_idle_cautions(environments: Sequence[object]) -> Iterator[tuple[None, Caution]]:
    """A caution for each server that went on computing while others beside it were asked.

    ``environments``: of each visit JSON as visits keep it; what is no such JSON says nothing. Never raises.
    """
    visits: dict[str, int] = {}
    for environment in environments:
        for name in dict.fromkeys(_text(s.get("name")) for s in _servers(environment) if s.get("never_idle") is True):
            visits[name] = visits.get(name, 0) + 1
    for name, busy in visits.items():
        message = f"{name} computed without a pause in {count(busy, 'visit')}, also while others beside it were asked"
        hint = (
            "others shared the machine with it: give each server cores of its own (servers.cores), or a visit of its "
            "own (--design independent)"
        )
        yield None, Caution("never_idle", message, hint)


def _servers(environment: object) -> list[Mapping[str, Any]]:
    servers = kept_object(environment).get("servers")
    return [server for server in servers if isinstance(server, Mapping)] if isinstance(servers, list) else []


def _versions(environment: object) -> Iterator[tuple[_Package, str]]:
    for server in _servers(environment):
        versions = server.get("versions")
        for package, version in versions.items() if isinstance(versions, Mapping) else ():
            if isinstance(version, str):
                yield (_text(server.get("name")), _text(package)), _text(version)


def _text(value: Any) -> str:
    return shown(value if isinstance(value, str) else "a server", _LONGEST)
