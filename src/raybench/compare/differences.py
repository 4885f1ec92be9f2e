"""In what two runs differ beside their latencies: by their descriptions, and by the devices that were used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from raybench.analysis import Views
from raybench.store import differing

_BY_VISITS: Final = ("device", "device_name", "gpu.name", "gpu.uuid")
"""What an environment says of devices; the visits say which were used."""


def differences(a: Views, b: Views) -> list[str]:
    """In what the runs differ, one line each: plan, model, workload, configurations, versions, machines, devices."""
    old, new = _keyed(a), _keyed(b)
    found = [line for key in old for line in _differing(key, old[key], new[key])]
    here, there = _environment(a.document), _environment(b.document)
    found += [
        f"{key}: {_listed(here.get(key, ()))} in A, {_listed(there.get(key, ()))} in B"
        for key in sorted(here.keys() | there.keys())
        if here.get(key) != there.get(key)
    ]
    in_a, in_b = (run.rows("SELECT DISTINCT device_name, device FROM visits ORDER BY ALL") for run in (a, b))
    named_a, named_b = ([row["device_name"] for row in rows] for rows in (in_a, in_b))
    if named_a != named_b:
        found.append(f"devices: {_counted(named_a)} in A, {_counted(named_b)} in B")
    elif in_a != in_b:
        found.append(f"devices: {_counted(named_a)} in both, but not the same ones")
    return found


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


def _differing(where: str, a: Any, b: Any) -> list[str]:
    """The leaves that differ, one line each. A thing of a list of named ones that only one run has is only named."""
    lines = []
    if where in ("configurations", "comparisons"):
        lines += [f"{where} only in A: {', '.join(k for k in a if k not in b)}"] if a.keys() - b.keys() else []
        lines += [f"{where} only in B: {', '.join(k for k in b if k not in a)}"] if b.keys() - a.keys() else []
        leaves = [leaf for key in a if key in b for leaf in differing(f"{where}.{key}", a[key], b[key])]
    else:
        leaves = differing(where, a, b)
    return lines + [f"{leaf.where}: {leaf.a!r} in A, {leaf.b!r} in B" for leaf in leaves]


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
