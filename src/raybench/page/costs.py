"""Why what is slower is slower, and what a deployment costs beside its requests: memory, loading, switches."""

from __future__ import annotations

from raybench.analysis import Tables, shipped_sql
from raybench.page.parts import Limits, Section, grid, grids
from raybench.page.queries import text_of
from raybench.page.values import fixed, shares, whole
from raybench.report import attribution_lines, percent


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
            "reference_strategy": ("against", str),
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
        {
            "deployment": ("deployment", str),
            "load_ms": ("load", fixed(1)),
            "adapter_load_ms": ("adapters", fixed(1)),
            "merge_ms": ("merge", fixed(1)),
            "form_ms": ("form", fixed(1)),
            "compile_ms": ("compile", fixed(1)),
            "weight_mb": ("weights", fixed(2)),
            "adapter_mb": ("of adapters", fixed(2)),
            "resident_mb": ("resident", fixed(1)),
            "load_peak_mb": ("load peak", fixed(1)),
            "forward_peak_mb": ("forward peak", fixed(1)),
        },
        "FROM memory_and_load",
        limits,
    )
    of_few = "FROM adapter_switch WHERE configuration NOT IN (SELECT configuration FROM adapters_resident)"
    switches = grid(
        "Choosing an adapter (milliseconds)",
        tables.rows(of_few),
        {
            "configuration": ("configuration", str),
            "adapter": ("adapter", str),
            "n": ("n", whole),
            "mean_ms": ("mean", fixed(4)),
            "p95_ms": ("p95", fixed(4)),
            "share_of_request": ("mean, of a request", shares),
            "request_ms": ("which takes", fixed(3)),
        },
        of_few,
        limits,
    )
    residents = grid(
        "As adapters become more (switch in microseconds, times in milliseconds, memory in 10^6 bytes)",
        tables.rows("FROM adapters_resident"),
        {
            "strategy": ("strategy", str),
            "routing": ("routing", str),
            "batch": ("batch", whole),
            "load": ("load", str),
            "resident": ("resident", whole),
            "switch_us": ("switch", fixed(1)),
            "mean_ms": ("request", fixed(3)),
            "add_ms": ("add one", fixed(3)),
            "remove_ms": ("remove one", fixed(3)),
            "adapter_load_ms": ("load all", fixed(1)),
            "resident_mb": ("memory", fixed(1)),
        },
        "FROM adapters_resident",
        limits,
    )
    growth = grid(
        "Each further adapter (nanoseconds that it adds, 95 % interval over rounds)",
        tables.rows("FROM adapter_growth"),
        {
            "strategy": ("strategy", str),
            "routing": ("routing", str),
            "batch": ("batch", whole),
            "load": ("load", str),
            "measure": ("of", str),
            "least": ("from", whole),
            "most": ("to", whole),
            "ns_per_adapter": ("ns each", fixed(2)),
            "low": ("95 % from", fixed(2)),
            "high": ("to", fixed(2)),
            "verdict": ("verdict", str),
        },
        "FROM adapter_growth",
        limits,
    )
    return Section("costs", "Memory, load and switch times", grids=grids(memory, switches, residents, growth))
