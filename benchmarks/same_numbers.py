"""The numbers of a run's main tables by a data frame library, as one would write them who has no raybench.

    python benchmarks/same_numbers.py pandas|polars|polars-streaming RUN

Of each configuration mean, standard deviation and five percentiles; of each visit the ratio of a configuration's mean
to that of each reference on the same requests; of each comparison the t interval over visits. Read straight from the
files, without any check of them. By ``polars-streaming`` the numbers of configurations are one query of its streaming
engine, and ratios are made some rounds at a time: no more than those need be in memory. Prints the ratios and their
intervals as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

PERCENTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
KEYS = ["round", "task", "request"]
ROUNDS = 10
"""By polars-streaming at a time."""
COLUMNS = ["configuration", "block", *KEYS, "phase", "wall_ns"]


def by_pandas(root: Path) -> tuple[Any, dict[tuple[str, str], list[float]]]:
    import pandas as pd

    files = sorted((root / "samples").glob("*.parquet"))
    read = pd.concat([pd.read_parquet(file, columns=COLUMNS) for file in files], ignore_index=True)
    timed = read[read["phase"] == "timed"].drop(columns="phase")
    parts: dict[Any, Any] = dict(iter(timed.groupby(["configuration", "block"])))
    own = pd.concat([parts[c["name"], c["block"]] for c in description(root)["configurations"]])
    groups = own.groupby("configuration")["wall_ns"]
    table = pd.concat([groups.agg(["count", "mean", "std"]), groups.quantile(list(PERCENTILES)).unstack()], axis=1)
    ratios: dict[tuple[str, str], list[float]] = {}
    for c in comparisons(root):
        theirs = pd.concat([parts[r["configuration"], r["block"]] for r in c["references"]])
        both = parts[c["configuration"], c["block"]].merge(theirs, on=KEYS, suffixes=("", "_theirs"))
        means = both.groupby("round")[["wall_ns", "wall_ns_theirs"]].mean()
        pair = c["configuration"], c["reference_strategy"]
        ratios[pair] = np.log(means["wall_ns"] / means["wall_ns_theirs"]).tolist()
    return table, ratios


def by_polars(root: Path) -> tuple[Any, dict[tuple[str, str], list[float]]]:
    import polars as pl

    timed = timed_by_polars(root).collect()
    parts = timed.partition_by("configuration", "block", as_dict=True)
    own = pl.concat([parts[c["name"], c["block"]] for c in description(root)["configurations"]])
    return own.lazy().group_by("configuration").agg(statistics_by_polars()).collect(), ratios_by_polars(parts, root)


def by_polars_streaming(root: Path) -> tuple[Any, dict[tuple[str, str], list[float]]]:
    import polars as pl

    timed = timed_by_polars(root)
    homes = pl.LazyFrame(
        [(c["name"], c["block"]) for c in description(root)["configurations"]], ["configuration", "block"], orient="row"
    )
    own = timed.join(homes, on=["configuration", "block"], how="semi")
    table = own.group_by("configuration").agg(statistics_by_polars()).collect(engine="streaming")
    rounds = int(timed.select(pl.col("round").max()).collect(engine="streaming").item()) + 1
    ratios: dict[tuple[str, str], list[float]] = {}
    for first in range(0, rounds, ROUNDS):
        some = timed.filter(pl.col("round").is_between(first, first + ROUNDS - 1)).collect(engine="streaming")
        for pair, visits in ratios_by_polars(some.partition_by("configuration", "block", as_dict=True), root).items():
            ratios.setdefault(pair, []).extend(visits)
    return table, ratios


def timed_by_polars(root: Path) -> Any:
    import polars as pl

    scanned = pl.scan_parquet(sorted((root / "samples").glob("*.parquet")))
    return scanned.filter(pl.col("phase") == "timed").select([name for name in COLUMNS if name != "phase"])


def statistics_by_polars() -> list[Any]:
    import polars as pl

    wall = pl.col("wall_ns")
    return [
        wall.count().alias("n"),
        wall.mean().alias("mean"),
        wall.std().alias("sd"),
        *(wall.quantile(p, "linear").alias(f"p{p}") for p in PERCENTILES),
    ]


def ratios_by_polars(parts: dict[Any, Any], root: Path) -> dict[tuple[str, str], list[float]]:
    """``parts``: samples by configuration and block."""
    import polars as pl

    ratios: dict[tuple[str, str], list[float]] = {}
    for c in comparisons(root):
        theirs = pl.concat([parts[r["configuration"], r["block"]] for r in c["references"]])
        both = parts[c["configuration"], c["block"]].join(theirs, on=KEYS, suffix="_theirs")
        means = both.group_by("round").agg(pl.col("wall_ns").mean(), pl.col("wall_ns_theirs").mean())
        pair = c["configuration"], c["reference_strategy"]
        ratios[pair] = (means["wall_ns"] / means["wall_ns_theirs"]).log().to_list()
    return ratios


def description(root: Path) -> Any:
    return json.loads((root / "run.json").read_text())


def comparisons(root: Path) -> list[dict[str, Any]]:
    """Those that were measured side by side."""
    return [c for c in description(root)["comparisons"] if c["via"] is None]


def main() -> None:
    ways = {"pandas": by_pandas, "polars": by_polars, "polars-streaming": by_polars_streaming}
    table, ratios = ways[sys.argv[1]](Path(sys.argv[2]))
    found = []
    for pair, visits in sorted(ratios.items()):
        mean, half = float(np.mean(visits)), float(stats.t.ppf(0.975, len(visits) - 1) * stats.sem(visits))
        found.append([*pair, *np.exp([mean, mean - half, mean + half]).tolist()])
    print(json.dumps({"configurations": len(table), "ratios": found}))


if __name__ == "__main__":
    main()
