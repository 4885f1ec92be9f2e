"""The log ratios of a run's visits, and what they estimate: of a configuration, of a deployment, of a chain."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from raybench.analysis import blocks
from raybench.analysis.stats import Estimate

PAIRED: Final = "wall paired"
"""The clock that looks at each request against itself: what a few slow requests cannot move (`visit_ratios.sql`)."""

CLOCKS: Final[Mapping[str, str]] = {
    "wall": "wall",
    "host": "host",
    "device_time": "device",
    "wall_median": "wall median",
    "host_median": "host median",
    "device_median": "device median",
    "wall_paired": PAIRED,
}
"""Columns of ``visit_ratios`` and what they are called in tables."""

MEASURES: Final = ("end_to_end", "ttft", "tpot")
"""The parts of a request that are compared, as the view ``measures`` has them; of a classifier's the first only."""


class Timing(NamedTuple):
    """What of a request a ratio is of: one of `MEASURES`, by a clock, as tables call it."""

    measure: str
    clock: str


WALL: Final = Timing("end_to_end", "wall")


def compared_in(row: Mapping[str, Any]) -> tuple[object, ...]:
    """What a row of ``overhead`` or ``by_strategy`` compares, by whichever clock: the same for all of its clocks."""
    return row.get("configuration"), row["deployment"], row["reference_strategy"], row["measure"]


ByDevice = Mapping[str, Sequence[float]]
"""A comparison's log ratios, one a visit, by the device that the visit ran on."""


_Visits = TypeVar("_Visits")


def chain_of(
    parts: Mapping[str, tuple[_Visits, Mapping[str, _Visits]]],
) -> list[tuple[Mapping[str, _Visits], Mapping[str, float] | None]]:
    """The links (`blocks.Link`) whose product is the average of several configurations' ratios.

    ``parts``: of each configuration its first ratio, and those that are averaged into a second (none: there is only
    the first). What several have in common is one link and counts once.
    """
    links: dict[str, _Visits] = {}
    weights: dict[str, float] = defaultdict(float)
    for _, of_links in parts.values():
        for link, visits in of_links.items():
            links[link] = visits
            weights[link] += 1 / len(of_links) / len(parts)
    first = {name: visits for name, (visits, _) in parts.items()}
    return [(first, None), (links, weights)] if links else [(first, None)]


def _levels() -> dict[tuple[str, str, str], dict[str, list[float]]]:
    return defaultdict(lambda: defaultdict(list))


class Ratios:
    """What a run's visits say of each comparison. ``visit_ratios`` and ``chains`` are rows of the views.

    In the independent design (``independent``) the two sides of a ratio may come from different GPUs: rounds are the
    unit then, whatever served them. ``rounds``: how many rounds to look at (None: all).
    """

    def __init__(
        self,
        visit_ratios: Sequence[Mapping[str, Any]],
        chains: Sequence[Mapping[str, Any]],
        *,
        independent: bool = False,
        rounds: int | None = None,
    ) -> None:
        self._independent = independent
        self._visits: dict[tuple[str, str, Timing], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._levels = (_levels(), _levels())
        self.add([row for row in visit_ratios if rounds is None or row["round"] < rounds])
        self._links: dict[tuple[str, str], tuple[str, list[str]]] = {}
        for row in chains:
            chained = (row["configuration"], row["reference_strategy"])
            self._links.setdefault(chained, (row["via"], []))[1].append(row["reference"])

    def add(self, visit_ratios: Sequence[Mapping[str, Any]]) -> None:
        """Further rows of the view, of visits that were not there yet."""
        for row in visit_ratios:
            pair, measure = (row["configuration"], row["reference_strategy"]), row["measure"]
            device = "any" if self._independent else row["device"]
            for column, clock in CLOCKS.items():
                if row[column] is not None:
                    self._visits[*pair, Timing(measure, clock)][device].append(row[column])
            for levels, column in zip(self._levels, ("compared_ms", "reference_ms"), strict=True):
                levels[*pair, measure][device].append(math.log(row[column]))
        self.timings = sorted({timing for _, _, timing in self._visits}, key=_place)

    def keys(self) -> list[tuple[str, str, Timing]]:
        """Every (configuration, reference strategy, timing) that there is an estimate of."""
        chained = [(name, reference, timing) for name, reference in self._links for timing in self.timings]
        return [*self._visits, *(key for key in chained if self._parts(*key) is not None)]

    def estimate(self, names: Sequence[str], reference: str, timing: Timing) -> Estimate | None:
        """The average of ``names`` against ``reference``, each a block of its own; None where nothing is known.

        A ratio that was never measured directly is chained: that against a third strategy, times that of the third
        against the reference. Several configurations may have links in common, which then count once.
        """
        found = {name: parts for name in names if (parts := self._parts(name, reference, timing)) is not None}
        return blocks.from_chain(chain_of(found)) if found else None

    def means_ms(self, names: Sequence[str], reference: str, measure: str) -> tuple[float, float] | None:
        """The mean wall times whose ratio the estimate is: of ``names``, and of what they are compared with.

        Geometric means over visits, each configuration counting alike: so their ratio is that of `estimate` to the
        last digit, which those of all samples are not. None for a chain, which is of two ratios.
        """
        timing = Timing(measure, "wall")
        found = [name for name in names if self._parts(name, reference, timing) is not None]
        if not found or any((name, reference, timing) not in self._visits for name in found):
            return None
        own, theirs = (
            math.exp(blocks.from_blocks({name: levels[name, reference, measure] for name in found}).log_ratio)
            for levels in self._levels
        )
        return own, theirs

    def via(self, names: Sequence[str], reference: str) -> str | None:
        """The strategy by which ``names`` are chained to ``reference``; None where they were measured beside it."""
        return next((self._links[name, reference][0] for name in names if (name, reference) in self._links), None)

    def units(self, names: Sequence[str], reference: str, timing: Timing) -> list[float]:
        """The log ratios that a permutation test may flip (`blocks.device_ratios`); empty for a chain."""
        first = {name: self._visits[key] for name in names if (key := (name, reference, timing)) in self._visits}
        return blocks.device_ratios(first) if first else []

    def _parts(self, name: str, reference: str, timing: Timing) -> tuple[ByDevice, dict[str, ByDevice]] | None:
        """The visits of the ratio's first part and, for a chain, those of each link."""
        if (name, reference, timing) in self._visits:
            return self._visits[name, reference, timing], {}
        via, links = self._links.get((name, reference), ("", []))
        keys = [(name, via, timing), *((link, reference, timing) for link in links)]
        if not links or any(key not in self._visits for key in keys):
            return None
        return self._visits[keys[0]], {link: self._visits[link, reference, timing] for link in links}


def _place(timing: Timing) -> tuple[int, int]:
    return MEASURES.index(timing.measure), list(CLOCKS.values()).index(timing.clock)
