"""What the columns of tables are called, in the terminal and on the page alike; by view, and its own column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

_GROWTH: Final = {"strategy": "strategy", "routing": "routing", "batch": "batch", "load": "load"}
_HEADERS: Final[Mapping[str, Mapping[str, str]]] = {
    "throughput": {
        "deployment": "deployment",
        "tokens_per_second": "tokens/s",
        "reference_deployment": "against",
        "ratio": "change",
        "low": "95 % from",
        "high": "to",
        "verdict": "verdict",
    },
    "adapter_switch": {
        "configuration": "configuration",
        "adapter": "adapter",
        "n": "n",
        "mean_ms": "mean",
        "p95_ms": "p95",
        "share_of_request": "mean, of a request",
        "request_ms": "which takes",
    },
    "adapters_resident": _GROWTH
    | {
        "resident": "resident",
        "switch_us": "switch",
        "mean_ms": "request",
        "add_ms": "add one",
        "remove_ms": "remove one",
        "adapter_load_ms": "load all",
        "resident_mb": "memory",
    },
    "adapter_growth": _GROWTH
    | {
        "measure": "of",
        "least": "from",
        "most": "to",
        "least_us": "first, us",
        "most_us": "last, us",
        "ns_per_adapter": "ns each",
        "low": "95 % from",
        "high": "to",
        "verdict": "verdict",
    },
    "memory_and_load": {
        "deployment": "deployment",
        "load_ms": "load",
        "adapter_load_ms": "adapter load",
        "merge_ms": "merge",
        "form_ms": "form",
        "compile_ms": "compile",
        "weight_mb": "weights",
        "adapter_mb": "adapters",
        "resident_mb": "resident",
        "load_peak_mb": "load peak",
        "forward_peak_mb": "forward peak",
    },
}


def columns_of(view: str, shown: Mapping[str, Callable[[Any], str]]) -> dict[str, tuple[str, Callable[[Any], str]]]:
    """Of the columns of ``view`` that are shown, each with how its values are: what each is called, and that."""
    return {key: (_HEADERS[view][key], how) for key, how in shown.items()}


def mean_header(measure: str, name: str) -> str:
    """Of the study's table: the mean of all requests; ``name``: what people call ``measure``."""
    return "Mean latency of all" if measure == "end_to_end" else f"Mean {name} of all"


def reference_header(label: str) -> str:
    """Of the study's table: ratios to what is called ``label``."""
    return f"vs {label} (95 % interval)"
