"""The tables that statistics make: their columns and types. What each column means is in `sql/` and `docs/sql.md`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pyarrow as pa

_RATIO_FIELDS = [
    ("reference_strategy", pa.string()),
    ("measure", pa.string()),
    ("clock", pa.string()),
    ("visits", pa.int32()),
    ("ratio", pa.float64()),
    ("low", pa.float64()),
    ("high", pa.float64()),
    ("p", pa.float64()),
    ("p_holm", pa.float64()),
    ("p_equivalence", pa.float64()),
    ("verdict", pa.string()),
    ("more_rounds", pa.int64()),
    ("compared_ms", pa.float64()),
    ("reference_ms", pa.float64()),
    ("via", pa.string()),
    ("unknown", pa.string()),
    ("disputed", pa.bool_()),
]


def _with_interval(*names: str) -> list[tuple[str, pa.DataType]]:
    return [(name + end, pa.float64()) for name in names for end in ("", "_low", "_high")]


SCHEMAS: Final[Mapping[str, pa.Schema]] = {
    "overhead": pa.schema([("configuration", pa.string()), ("deployment", pa.string()), *_RATIO_FIELDS]),
    "by_strategy": pa.schema(
        [
            ("deployment", pa.string()),
            ("strategy", pa.string()),
            ("configurations", pa.int32()),
            ("complete", pa.int32()),
            ("n", pa.int64()),
            ("mean_ms", pa.float64()),
            ("claim", pa.bool_()),
            ("reference_deployment", pa.string()),
            *_RATIO_FIELDS,
        ]
    ),
    "significance": pa.schema(
        [
            ("deployment", pa.string()),
            ("reference_strategy", pa.string()),
            ("measure", pa.string()),
            ("claim", pa.bool_()),
            ("visits", pa.int32()),
            ("t", pa.float64()),
            ("df", pa.float64()),
            ("p", pa.float64()),
            ("p_holm", pa.float64()),
            ("p_permutation", pa.float64()),
            ("study_pairs", pa.int32()),
            ("study_t", pa.float64()),
            ("study_p", pa.float64()),
        ]
    ),
    "percentiles": pa.schema(
        [
            ("configuration", pa.string()),
            ("measure", pa.string()),
            ("percentile", pa.float64()),
            ("ms", pa.float64()),
            ("low_ms", pa.float64()),
            ("high_ms", pa.float64()),
            ("n", pa.int64()),
            ("visits", pa.int32()),
            ("refused", pa.string()),
        ]
    ),
    "diagnostics": pa.schema(
        [
            ("configuration", pa.string()),
            ("samples", pa.int64()),
            ("visits", pa.int32()),
            ("lag1", pa.float64()),
            ("effective_samples", pa.float64()),
            ("requests_share", pa.float64()),
            ("visits_share", pa.float64()),
            ("devices_share", pa.float64()),
            ("outliers", pa.int64()),
        ]
    ),
    "adapter_growth": pa.schema(
        [
            ("strategy", pa.string()),
            ("form", pa.string()),
            ("execution", pa.string()),
            ("routing", pa.string()),
            ("batch", pa.int32()),
            ("load", pa.string()),
            ("measure", pa.string()),
            ("rounds", pa.int32()),
            ("least", pa.int64()),
            ("most", pa.int64()),
            ("least_us", pa.float64()),
            ("most_us", pa.float64()),
            ("ns_per_adapter", pa.float64()),
            ("low", pa.float64()),
            ("high", pa.float64()),
            ("verdict", pa.string()),
        ]
    ),
    "goodput": pa.schema(
        [
            ("deployment", pa.string()),
            ("strategy", pa.string()),
            ("load", pa.string()),
            ("concurrency", pa.int32()),
            ("rate_per_s", pa.float64()),
            ("configurations", pa.int32()),
            ("visits", pa.int32()),
            ("requests", pa.int64()),
            *_with_interval("requests_per_s", "output_tokens_per_s"),
            *_with_interval("ttft_p50_ms", "ttft_p99_ms", "tpot_p50_ms", "tpot_p99_ms"),
            *_with_interval("good_share", "goodput_per_s"),
            ("late_p99_ms", pa.float64()),
            ("cached_share", pa.float64()),
        ]
    ),
    "cautions": pa.schema(
        [("configuration", pa.string()), ("code", pa.string()), ("message", pa.string()), ("hint", pa.string())]
    ),
}
