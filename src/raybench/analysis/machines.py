"""What befell the machines while visits measured, and the visits that it touched: cautions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from raybench.analysis.diagnostics import Caution, Code
from raybench.analysis.kept_text import kept_object, shown
from raybench.records import count, in_percent

STEAL_SHARE: Final = 0.01
_STEAL_LEAST_NS: Final = 20_000_000
"""Two ticks of the kernel's clock: of short visits one is more than the share."""
OTHERS_SHARE: Final = 0.25
"""Of all cores. Ray and what writes results use less."""
_LOOKED_AT_NS: Final = 500_000_000
"""Of processor time, which the kernel counts in ticks of 10 ms: of less a share says nothing."""
THROTTLED_SHARE: Final = 0.001
CLOCK_SHARE: Final = 0.95
"""Of the highest clock of a GPU in the run: below it a visit was measured on a slower GPU."""
_NAMED: Final = 3
_LONGEST: Final = 160

Row = Mapping[str, Any]


def machine_cautions(rows: Sequence[Row]) -> list[tuple[None, Caution]]:
    """Of the whole run, each with the visits that it touched. ``rows``: of the view raybench_visit_conditions."""
    found: list[Caution] = []
    found += _stolen(rows)
    found += _busy(rows)
    found += _stalled(rows)
    found += _swapped(rows)
    found += _held_down(rows)
    found += _slow_clocks(rows)
    found += _shared_gpus(rows)
    found += _changed(rows)
    return [(None, caution) for caution in found]


def _stolen(rows: Sequence[Row]) -> Iterator[Caution]:
    of = [r for r in _above(rows, "steal_share", STEAL_SHARE) if (r["steal_ns"] or 0) >= _STEAL_LEAST_NS]
    if of:
        most = max(row["steal_share"] for row in of)
        yield _caution(
            "stolen_time",
            f"a hypervisor took up to {in_percent(most, '.1f')} of the machine's processor time",
            of,
            rows,
            "these visits have stalls that are not theirs: measure on a dedicated host, or on an instance that is not "
            "burstable",
        )


def _busy(rows: Sequence[Row]) -> Iterator[Caution]:
    if of := [r for r in _above(rows, "others_share", OTHERS_SHARE) if r["processor_ns"] >= _LOOKED_AT_NS]:
        most = max(row["others_share"] for row in of)
        yield _caution(
            "busy_machine",
            f"others computed on up to {in_percent(most, '.0f')} of the machine's processor time",
            of,
            rows,
            "they share cores, caches and memory with what is measured, and widen intervals: raybench doctor names "
            "them; measure again without",
        )


def _stalled(rows: Sequence[Row]) -> Iterator[Caution]:
    if of := _above(rows, "throttled_share", THROTTLED_SHARE):
        most = max(row["throttled_share"] for row in of)
        yield _caution(
            "cpu_quota",
            f"its control group stood still for want of quota, up to {in_percent(most, '.1f')} of the time measured",
            of,
            rows,
            "some requests waited for the next period: have the quota lifted (cpu.max: max; no CPU limit of the pod)",
        )


def _swapped(rows: Sequence[Row]) -> Iterator[Caution]:
    if of := _above(rows, "swapped_mb", 0.0):
        most = max(row["swapped_mb"] for row in of)
        yield _caution(
            "swapping",
            f"up to {most:,.1f} MB were swapped in and out",
            of,
            rows,
            "memory was short, and requests may have waited for a disk: end what holds it, or take a larger machine",
        )


def _held_down(rows: Sequence[Row]) -> Iterator[Caution]:
    if of := [row for row in rows if row["gpu_throttled_by"]]:
        reasons = dict.fromkeys(reason for row in of for reason in str(row["gpu_throttled_by"])[:_LONGEST].split(", "))
        yield _caution(
            "gpu_throttled",
            f"the GPU's clock was held down by {shown(', '.join(reasons), _LONGEST)}",
            of,
            rows,
            "these visits had a slower GPU: lock a clock that it can hold (nvidia-smi --lock-gpu-clocks), cool it, or "
            "raise its power cap",
        )


def _slow_clocks(rows: Sequence[Row]) -> Iterator[Caution]:
    highest: dict[str, int] = defaultdict(int)
    for row in rows:
        highest[row["device"]] = max(highest[row["device"]], row["gpu_clock_most_mhz"] or 0)
    of = [
        row
        for row in rows
        if row["gpu_clock_least_mhz"] is not None and row["gpu_clock_least_mhz"] < CLOCK_SHARE * highest[row["device"]]
    ]
    if of:
        least = min(of, key=lambda row: row["gpu_clock_least_mhz"] / highest[row["device"]])
        yield _caution(
            "gpu_clocks",
            f"the GPU's clock fell to {least['gpu_clock_least_mhz']:,} MHz, of {highest[least['device']]:,} at its "
            "highest",
            of,
            rows,
            "latencies follow the clock: lock one that the GPU can hold (nvidia-smi --lock-gpu-clocks)",
        )


def _shared_gpus(rows: Sequence[Row]) -> Iterator[Caution]:
    if of := _above(rows, "gpu_processes", 1):
        others = max(row["gpu_processes"] for row in of) - 1
        yield _caution(
            "gpu_shared",
            f"up to {others:,} other processes were on the GPU",
            of,
            rows,
            "they take turns with what is measured, and its caches and power: nvidia-smi on the host names them",
        )


def _changed(rows: Sequence[Row]) -> Iterator[Caution]:
    """What was not there, or was otherwise, when the worker began."""
    touched: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        before, after = kept_object(row["environment"]).get("doctor"), kept_object(row["findings"])
        if isinstance(before, Mapping):
            for name, told in after.items():
                if isinstance(told, str) and told.startswith("caution") and _state(before.get(name)) == "ok":
                    touched[shown(name, _LONGEST), shown(told.partition(": ")[2], _LONGEST)].append(row)
    by_name: dict[str, list[str]] = defaultdict(list)
    for name, found in touched:
        by_name[name].append(found)
    for name, of_name in by_name.items():
        of = [row for found in of_name for row in touched[name, found]]
        yield _caution(
            "machine_changed",
            f"{name} was as it should be when the worker began, and then was not ({of_name[-1]})",
            of,
            rows,
            "visits before and after are not of the same machine: raybench doctor there says what to do; measure again",
        )


def _caution(code: Code, what: str, of: Sequence[Row], rows: Sequence[Row], hint: str) -> Caution:
    names = ", ".join(shown(str(row["visit"]), _LONGEST) for row in of[:_NAMED])
    more = f" and {len(of) - _NAMED:,} more" if len(of) > _NAMED else ""
    return Caution(code, f"{what} in {len(of):,} of {count(len(rows), 'visit')}: {names}{more}", hint)


def _above(rows: Sequence[Row], column: str, limit: float) -> list[Row]:
    return [row for row in rows if row[column] is not None and row[column] > limit]


def _state(told: Any) -> str:
    return told.partition(":")[0] if isinstance(told, str) else ""
