"""In what two runs differ beside their latencies: by their descriptions, and by the devices that were used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from raybench.analysis import Views
from raybench.store import differing

_BY_VISITS: Final = ("device", "device_name", "gpu.name", "gpu.uuid")
"""What an environment says of devices; the visits say which were used."""


class Changed(NamedTuple):
    """Something in which two runs differ: what it is called, what either has (empty: nothing), and all of it in a line.

    ``of``: what it is a part of, as ``plan`` or ``versions``; where a run's environment has no name for it, that.
    """

    of: str
    what: str
    a: str
    b: str
    line: str


def differences(a: Views, b: Views) -> list[str]:
    """In what the runs differ, one line each: plan, model, workload, configurations, versions, machines, devices."""
    return [one.line for one in changed(a, b)]


def changed(a: Views, b: Views) -> list[Changed]:
    """The same, to be shown side by side."""
    old, new = _keyed(a), _keyed(b)
    found = [one for key in old for one in _differing(key, old[key], new[key])]
    here, there = _environment(a.document), _environment(b.document)
    for key in sorted(here.keys() | there.keys()):
        if here.get(key) != there.get(key):
            of = key.partition(".")[0] if "." in key else "environment"
            found.append(_changed(of, key, _listed(here.get(key, ())), _listed(there.get(key, ()))))
    in_a, in_b = (run.rows("SELECT DISTINCT device_name, device FROM visits ORDER BY ALL") for run in (a, b))
    named_a, named_b = ([row["device_name"] for row in rows] for rows in (in_a, in_b))
    if named_a != named_b:
        found.append(_changed("devices", "devices", _counted(named_a), _counted(named_b)))
    elif in_a != in_b:
        same = _counted(named_a)
        line = f"devices: {same} in both, but not the same ones"
        found.append(Changed("devices", "devices", same, f"{same}, but not the same ones", line))
    return found


def _changed(of: str, what: str, a: str, b: str) -> Changed:
    return Changed(of, what, a, b, f"{what}: {a} in A, {b} in B")


def _keyed(run: Views) -> dict[str, Any]:
    """What of a description is compared, lists of named things by their names.

    What an older run does not say is what it was: a classifier, a batch of one.
    """
    description = run.document
    meant = {c.name: c.model_dump() for c in run.description.configurations}
    return {
        "plan": description["plan"],
        "model": {**run.description.model.model_dump(), **description["model"]},
        "workload": description["workload"],
        "configurations": {c["name"]: {**meant[c["name"]], **c} for c in description["configurations"]},
        "comparisons": {
            f"{c['configuration']} to {c['reference_strategy']}": c["references"] for c in description["comparisons"]
        },
    }


def _differing(where: str, a: Any, b: Any) -> list[Changed]:
    """The leaves that differ. A thing of a list of named ones that only one run has is only named."""
    found = []
    if where in ("configurations", "comparisons"):
        for run, own, other in (("A", a, b), ("B", b, a)):
            if names := ", ".join(key for key in own if key not in other):
                what = f"{where} only in {run}"
                in_a, in_b = (names, "") if run == "A" else ("", names)
                found.append(Changed(where, what, in_a, in_b, f"{what}: {names}"))
        leaves = [leaf for key in a if key in b for leaf in differing(f"{where}.{key}", a[key], b[key])]
    else:
        leaves = differing(where, a, b)
    for leaf in leaves:
        line = f"{leaf.where}: {_told(leaf.a)} in A, {_told(leaf.b)} in B"
        found.append(Changed(where, leaf.where, _said(leaf.a), _said(leaf.b), line))
    return found


def _told(value: Any) -> str:
    return _said(value) if isinstance(value, list) else repr(value)


def _said(value: Any) -> str:
    """In words; a list's members one after the other, of a claim who is compared with whom."""
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    if isinstance(value, dict):
        if value.keys() == {"strategy", "reference"}:
            return f"{value['strategy']} against {value['reference']}"
        return " ".join(f"{key} {_said(inner)}" for key, inner in value.items())
    return "" if value is None else str(value)


def _environment(description: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Each setting of the driver and the workers, with every value that it has on any of them."""
    found: dict[str, set[str]] = defaultdict(set)

    def gather(where: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                gather(f"{where}.{key}" if where else key, inner)
        elif where not in _BY_VISITS:
            found[where].add(str(value))

    environment = description["environment"]
    for part in [environment["driver"], *environment["workers"]]:
        gather("", part)
    return {key: tuple(sorted(values)) for key, values in found.items()}


def _listed(values: Iterable[str]) -> str:
    return ", ".join(values) or "nothing"


def _counted(names: Sequence[str]) -> str:
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)) or "none"
