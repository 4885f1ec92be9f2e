"""Why what is slower is slower, and what a deployment costs beside its requests: memory, loading, switches."""

from __future__ import annotations

from raybench.analysis import Tables, shipped_sql
from raybench.page.parts import Limits, Section, grid, grids
from raybench.page.queries import text_of
from raybench.page.values import fixed, shares, whole
from raybench.report import attribution_lines, columns_of, percent


def attribution_section(tables: Tables, limits: Limits) -> Section:
    """Nothing where nothing was counted."""
    rows = [
        row
        | {key: 1 + row[key] for key in ("more_bytes", "more_operations", "more_instructions") if row[key] is not None}
        for row in tables.rows(shipped_sql("attribution_of_deployments"))
    ]
    table = grid(
        "Where the extra time of what is slower goes, by what is counted",
        rows,
        {
            "deployment": ("deployment", str),
            "reference_deployment": ("against", str),
            "more_bytes": ("bytes", percent),
            "more_operations": ("operations", percent),
            "more_instructions": ("Python instructions", percent),
            "extra_ms": ("extra, ms", fixed(3)),
            "dispatch_ms": ("of it dispatch", fixed(3)),
            "device_ms": ("computing", fixed(3)),
        },
        text_of("attribution_of_deployments"),
        limits,
    )
    return Section("why", "Why it is slower", tuple(attribution_lines(tables)), grids=grids(table))


def cost_section(tables: Tables, limits: Limits) -> Section:
    """Memory, load and switch times."""
    memory = grid(
        "Memory (10^6 bytes) and load (milliseconds), medians over visits",
        tables.rows("FROM memory_and_load"),
        columns_of(
            "memory_and_load",
            {
                "deployment": str,
                "load_ms": fixed(1),
                "adapter_load_ms": fixed(1),
                "merge_ms": fixed(1),
                "form_ms": fixed(1),
                "compile_ms": fixed(1),
                "weight_mb": fixed(2),
                "adapter_mb": fixed(2),
                "resident_mb": fixed(1),
                "load_peak_mb": fixed(1),
                "forward_peak_mb": fixed(1),
            },
        ),
        "FROM memory_and_load",
        limits,
    )
    of_few = "FROM adapter_switch WHERE configuration NOT IN (SELECT configuration FROM adapters_resident)"
    switches = grid(
        "Choosing an adapter (milliseconds)",
        tables.rows(of_few),
        columns_of(
            "adapter_switch",
            {
                "configuration": str,
                "adapter": str,
                "n": whole,
                "mean_ms": fixed(4),
                "p95_ms": fixed(4),
                "share_of_request": shares,
                "request_ms": fixed(3),
            },
        ),
        of_few,
        limits,
    )
    residents = grid(
        "As adapters become more (switch in microseconds, times in milliseconds, memory in 10^6 bytes)",
        tables.rows("FROM adapters_resident"),
        columns_of(
            "adapters_resident",
            {
                "strategy": str,
                "routing": str,
                "batch": whole,
                "load": str,
                "resident": whole,
                "switch_us": fixed(1),
                "mean_ms": fixed(3),
                "add_ms": fixed(3),
                "remove_ms": fixed(3),
                "adapter_load_ms": fixed(1),
                "resident_mb": fixed(1),
            },
        ),
        "FROM adapters_resident",
        limits,
    )
    growth = grid(
        "Each further adapter (nanoseconds that it adds, 95 % interval over rounds)",
        tables.rows("FROM adapter_growth"),
        columns_of(
            "adapter_growth",
            {
                "strategy": str,
                "routing": str,
                "batch": whole,
                "load": str,
                "measure": str,
                "least": whole,
                "most": whole,
                "ns_per_adapter": fixed(2),
                "low": fixed(2),
                "high": fixed(2),
                "verdict": str,
            },
        ),
        "FROM adapter_growth",
        limits,
    )
    return Section("costs", "Memory, load and switch times", grids=grids(memory, switches, residents, growth))
