"""How many timed samples a run has, by what its visits brought up: as its tables count them, without reading any."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from raybench.plan import DRAWN, Plan, Routing, places
from raybench.records import count
from raybench.report import explained
from raybench.store import ConfigurationOfRun, Description


class Counted(NamedTuple):
    """Timed samples, guests' included, and how many of them are guests'."""

    samples: int
    of_guests: int

    def words(self) -> str:
        """``240 samples (30 of guests)``."""
        return count(self.samples, "sample") + (f" ({self.of_guests:,} of guests)" if self.of_guests else "")

    def explained(self) -> str:
        """What words mean where these are told of a plan."""
        return explained("block", "visit", "guest") if self.of_guests else explained("block", "visit")


def planned_samples(plan: Plan) -> Counted:
    """Those that ``plan`` will have."""
    return Counted(plan.expected_samples(), plan.guest_samples())


def timed_samples(description: Description, loads: Iterable[Mapping[str, Any]]) -> Counted:
    """Those of a run; ``loads``: rows of that table, which has those that measured all of their round and no others.

    A configuration of the visit's own block serves all requests of a round, a guest those that its hosts serve for it.
    """
    known = {c.name: c for c in description.configurations}
    hosts: dict[str, list[ConfigurationOfRun]] = defaultdict(list)
    for c in description.configurations:
        hosts[c.block].append(c)
    requests = description.plan.requests

    @functools.cache
    def of_guest(name: str, block: str, first: int) -> int:
        return _of_guest(known[name], hosts[block], first, requests)

    own = guests = 0
    for row in loads:
        name, block, first = row["configuration"], row["block"], row["round"] * requests
        if name not in known:
            continue
        if known[name].block == block:
            own += requests
        elif any(host.routing in DRAWN for host in hosts[block]):
            guests += of_guest(name, block, first)
        else:  # which comes again once all have had their turns
            turns = max((len(host.tasks) for host in hosts[block]), default=1)
            guests += of_guest(name, block, first % turns if len(hosts[block]) == 1 else first)
    return Counted(own + guests, guests)


def _of_guest(guest: ConfigurationOfRun, hosts: Sequence[ConfigurationOfRun], first: int, requests: int) -> int:
    served: set[tuple[str, int]] = set()
    mixed = any(host.routing == "mixed" for host in hosts)
    for host in hosts:
        chosen = places(cast(Routing, host.routing), len(host.tasks), first, requests, host.seed)
        served |= {(host.tasks[place], number) for number, place in enumerate(chosen)}
    return len({one for one in served if mixed or one[0] in guest.tasks})
