"""Runs of known latencies to compare: each measured once a session, opened once, and compared once with another."""

from __future__ import annotations

import functools
import itertools
import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raybench.analysis.tables import Tables
from raybench.compare.command import RunComparison, compare
from raybench.plan.plan import Plan
from runs import measure

MS = 1_000_000
USUAL = {"full_ft": 4.0, "lora_separate": 5.0, "lora_merged": 4.02, "multi_lora": 5.5}
Make = Callable[..., Path]
Edit = Callable[[Path, Callable[[dict[str, Any]], object]], Path]

opened = functools.cache(Tables)
compared = functools.cache(compare)


def of(a: Path, b: Path) -> RunComparison:
    """B against A."""
    return compared(opened(a), opened(b))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Path]]]:
    """Where runs are measured, and those that are there."""
    yield tmp_path_factory.mktemp("made"), {}
    opened.cache_clear()
    compared.cache_clear()


@pytest.fixture
def make(
    made: tuple[Path, dict[str, Path]],
    known_latencies: Callable[..., None],
    load_plan: Callable[..., Plan],
) -> Make:
    """Make a run: latencies in ms by strategy; ``noise`` (sd of log latency) from ``seed``, ``per_token`` shared.

    Without any noise visits would be equal to the last digit, of which nothing can be said.
    """

    def run(latencies: dict[str, float] | None = None, **given: Any) -> Path:
        """The run that these arguments make, measured once; nothing may change it (`edit` copies)."""
        folder, known = made
        key = repr((latencies, given))
        if key not in known:
            known[key] = measured(folder / str(len(known)), latencies, **given)
        return known[key]

    def measured(
        results: Path,
        latencies: dict[str, float] | None,
        *,
        noise: float = 1e-6,
        seed: int = 0,
        per_token: float = 0.0,
        devices: int = 1,
        on: dict[str, int] | None = None,
        costs: dict[str, Any] | None = None,
        **overrides: Any,
    ) -> Path:
        rng = np.random.default_rng(seed)

        def cost(ms: float) -> Callable[[int, int], tuple[int, int, None]]:
            def of(tokens: int, calls: int) -> tuple[int, int, None]:
                spread = math.exp(noise * rng.standard_normal()) if noise else 1.0
                return (MS, round(ms * (1 + per_token * tokens) * spread * MS), None)

            return of

        known_latencies({name: cost(ms) for name, ms in (USUAL | (latencies or {})).items()} | (costs or {}))
        return measure(load_plan(**{"rounds": 3, **overrides}), results, devices=devices, on=on)

    return run


@pytest.fixture
def edit(tmp_path: Path) -> Edit:
    """A copy of a run with another description for the same samples."""
    count = itertools.count()

    def edited(root: Path, change: Callable[[dict[str, Any]], object]) -> Path:
        copy = Path(shutil.copytree(root, tmp_path / f"copy{next(count)}"))
        description = json.loads((copy / "run.json").read_text())
        change(description)
        (copy / "run.json").chmod(0o644)
        (copy / "run.json").write_text(json.dumps(description))
        return copy

    return edited


@pytest.fixture
def noisy_pair(make: Make) -> tuple[Path, Path]:
    common = {"noise": 0.05, "per_token": 0.02, "rounds": 5}
    return make(**common, seed=3), make({"lora_separate": 5.6}, **common, seed=4)


@pytest.fixture
def incomplete_pair(make: Make, edit: Edit) -> tuple[Path, Path]:
    """A configuration has another name in A; the device of the separate adapters fails in B."""
    a, b = edit(make(), lambda d: d.update(run_id="renamed")), make(costs={"lora_separate": _on_fire})
    (a / "run.json").write_text((a / "run.json").read_text().replace("fullft_mrpc_seed42", "fullft_old"))
    return a, b


def _on_fire(tokens: int, calls: int) -> tuple[int, int, None]:
    if calls > 5:
        raise RuntimeError("device on fire")
    return (MS, 5 * MS, None)


def raw_levels(root: Path, configuration: str, block: str, requests: Callable[[int], bool] = lambda r: True) -> Any:
    """Log mean latency of each round, from the samples themselves: of one block, of some ``requests``."""
    samples = pa.concat_tables(pq.read_table(path) for path in sorted((root / "samples").iterdir())).to_pylist()
    rounds: dict[int, list[int]] = {}
    for s in samples:
        mine = (s["configuration"], s["block"], s["phase"]) == (configuration, block, "timed")
        if mine and requests(s["request"]):
            rounds.setdefault(s["round"], []).append(s["wall_ns"])
    return np.log([np.mean(rounds[r]) for r in sorted(rounds)])


def close(values: Iterable[float], expected: float | Iterable[float], rtol: float = 1e-9) -> bool:
    return bool(np.allclose(list(values), expected, rtol=rtol, atol=0))
